//! The stored corpus through every target, without libFuzzer: each file as it is, then changed
//! at random for the rest of the target's time, 20 s (`FUZZ_SECONDS`) from its start. The
//! targets run side by side, so that all of them take those 20 s.
//!
//! The changes follow from `FUZZ_SEED`, so that a failure comes again. A failing input is stored, and
//! its path printed.

#![allow(clippy::print_stderr, reason = "it tells how much it tried")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use takings_fuzz::{TARGETS, Target};

fn number_from(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a whole number"))
}

/// A small generator (SplitMix64): the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn piece<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let from = self.below(of.len());
        let to = from + self.below((of.len() - from + 1).min(64));
        &of[from..to]
    }

    /// A change or a few: bytes flipped, cut, doubled, or taken from another file.
    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        const ODD: [&str; 12] =
            ["\"", "\\", "{", "[", "\n", "\n>", "0", "-", "9223372036854775808", "\u{0}", "\u{200b}", "\u{ff}"];
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.next() as u8,
                2 => {
                    let end = (at + self.below(32)).min(input.len());
                    input.drain(at..end);
                }
                3 => {
                    let piece = self.piece(input).to_vec();
                    input.splice(at..at, piece);
                }
                4 => {
                    let odd = ODD[self.below(ODD.len())];
                    input.splice(at..at, odd.bytes());
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let piece = self.piece(other).to_vec();
                    input.splice(at..at, piece);
                }
            }
        }
        input.truncate(8192);
    }
}

fn run((name, target): Target) {
    let end = Instant::now() + Duration::from_secs(number_from("FUZZ_SECONDS", 20));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a corpus").map(|file| file.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(corpus.len() > 10, "the corpus of {name} is gone");
    for (file, input) in files.iter().zip(&corpus) {
        let done = catch_unwind(|| target(input));
        done.unwrap_or_else(|panic| {
            eprintln!("{name} fails on {}", file.display());
            resume_unwind(panic);
        });
    }
    let seed = number_from("FUZZ_SEED", 1);
    let mut random = Random(seed);
    let mut changed = 0_u64;
    while Instant::now() < end {
        let mut input = corpus[random.below(corpus.len())].clone();
        random.change(&mut input, &corpus);
        catch_unwind(AssertUnwindSafe(|| target(&input))).unwrap_or_else(|panic| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-failed"));
            fs::write(&kept, &input).unwrap();
            eprintln!("{name} fails on {} (FUZZ_SEED={seed}); keep it in fuzz/corpus/{name}/", kept.display());
            resume_unwind(panic);
        });
        changed += 1;
    }
    eprintln!("{name}: {} files, {changed} changes of them", files.len());
}

#[test]
fn every_target_over_its_corpus() {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running = TARGETS.map(|target| (target.0, scope.spawn(move || run(target))));
        running.into_iter().filter_map(|(name, thread)| thread.join().err().map(|_| name)).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}
