//! Times of the pure halves: `cargo bench --package takings-bench`.

#![forbid(unsafe_code)]

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, mut half) in bench::halves::all().expect("the sample is a request") {
        criterion.bench_function(name, |bencher| bencher.iter(&mut half));
    }
    criterion.final_summary();
}
