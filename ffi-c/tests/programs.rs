//! C and C++ programs against the built libraries: compiled with every warning an error, run
//! against the sandbox, under valgrind, over forks and in threads.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use support::{Folder, Run, built, cc, cxx, root};
use takings_sandbox::{Fault, NewOrder, Options, Sandbox};

const C: [&str; 3] = ["c99", "c11", "c17"];
const CPP: [&str; 3] = ["c++11", "c++17", "c++20"];
const CPP_LAYER: [&str; 2] = ["c++17", "c++20"];

fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).expect("a sandbox")
}

fn order(sandbox: &Sandbox) -> String {
    sandbox.create_order(NewOrder { order_amount: 1_000_000, ..NewOrder::default() })
}

/// An order whose first answer gets lost after the capture was made.
fn lost_order(sandbox: &Sandbox) -> String {
    let order_id = order(sandbox);
    sandbox.fault(&order_id, Fault::LostAnswer);
    order_id
}

trait With {
    fn klarna(self, sandbox: &Sandbox) -> Self;
}

impl With for Run {
    fn klarna(self, sandbox: &Sandbox) -> Run {
        self.env("KLARNA_BASE_URL", sandbox.url())
            .env("KLARNA_USERNAME", "sandbox")
            .env("KLARNA_PASSWORD", "sandbox")
            .env("KLARNA_API_KEY", "")
            .env("KLARNA_REGION", "")
            .env("KLARNA_ENVIRONMENT", "")
    }
}

/// Everything that was done to an order, each with a key of its own.
fn distinct_calls(sandbox: &Sandbox, order_id: &str) -> usize {
    let ledger = sandbox.ledger_of(order_id);
    let keys: BTreeSet<_> = ledger.iter().map(|entry| entry.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), ledger.len(), "two calls with one key");
    ledger.len()
}

#[test]
fn the_headers_compile_without_a_warning() {
    let folder = Folder::new();
    let twice = folder.path().join("twice.c");
    fs::write(
        &twice,
        "#include \"takings.h\"\n#include \"takings.h\"\nint main(void) { return takings_version() == NULL; }\n",
    )
    .expect("a source file");
    for standard in C {
        cc(standard).arg("-Wstrict-prototypes").arg("-fsyntax-only").arg(&twice).ok();
    }
    for standard in CPP {
        cxx(standard).args(["-fsyntax-only", "-x", "c++"]).arg(&twice).ok();
    }

    // in two files of one program: nothing is defined twice
    let (one, two) = (folder.path().join("one.cpp"), folder.path().join("two.cpp"));
    fs::write(&one, "#include \"takings.hpp\"\n#include \"takings.hpp\"\nstd::string two();\nint main() { return two() == takings::version() ? 0 : 1; }\n").expect("a source file");
    fs::write(&two, "#include \"takings.hpp\"\nstd::string two() { return takings::version(); }\n")
        .expect("a source file");
    let folder = folder.with_library();
    for standard in CPP_LAYER {
        let program = folder.path().join(standard);
        cxx(standard)
            .args(["-Wshadow=compatible-local", "-Wconversion", "-Wold-style-cast"])
            .args([&one, &two])
            .arg("-o")
            .arg(&program)
            .shared(&folder)
            .ok();
        Run::new(program).ok();
    }
}

#[test]
fn amounts_are_not_made_from_fractions() {
    let folder = Folder::new();
    let compiles = |expression: &str| {
        let source = folder.path().join("amount.cpp");
        let text = format!(
            "#include \"takings.hpp\"\nint main() {{ takings::capture_request request({expression}); \
             takings::order_line line(\"a\", {expression}, 1, 1); line.unit_price = {expression}; \
             return request.captured_amount.value() > 0 ? 0 : 1; }}\n"
        );
        fs::write(&source, text).expect("a source file");
        cxx("c++17").arg("-fsyntax-only").arg(&source).end()
    };
    for good in ["6000", "6000L", "short(60)", "6000u", "std::int64_t(1) << 40"] {
        let ended = compiles(good);
        assert!(ended.status.success(), "{good} does not compile:\n{}", ended.stderr);
    }
    for bad in ["60.00", "60.0f", "1.15 * 100", "true", "'a'", "\"6000\"", "6000ull"] {
        let ended = compiles(bad);
        assert!(!ended.status.success(), "{bad} compiles");
        assert!(ended.stderr.contains("takings::whole"), "{bad} fails for another reason:\n{}", ended.stderr);
    }
}

#[test]
fn the_c_program_calls_every_function() {
    let header = fs::read_to_string(root().join("include/takings.h")).expect("include/takings.h");
    let program = fs::read_to_string(root().join("ffi-c/tests/c/functions.c")).expect("functions.c");
    let exported = Run::new("nm").args(["-D", "--defined-only"]).arg(built().join("libtakings.so")).ok();
    let names: Vec<&str> = exported.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(!names.is_empty());
    for name in names {
        let call = format!("{name}(");
        assert!(header.contains(&call), "{name} is not in the header");
        assert!(program.contains(&call), "functions.c does not call {name}");
    }
}

/// The program, run by this tool or by itself.
fn under(before: &[&str], program: &std::path::Path) -> Run {
    match before {
        [] => Run::new(program),
        [tool, options @ ..] => Run::new(tool).args(options).arg(program),
    }
}

fn every_function(program: &std::path::Path, before: &[&str]) {
    let sandbox = sandbox();
    let (order_id, lost) = (order(&sandbox), lost_order(&sandbox));
    let printed = under(before, program).args([sandbox.url(), &order_id, &lost]).klarna(&sandbox).ok();
    assert_eq!(printed, "done\n");
    assert_eq!(distinct_calls(&sandbox, &order_id), 17);
    assert_eq!(distinct_calls(&sandbox, &lost), 1, "the money moved once");
    let agents: BTreeSet<String> = sandbox
        .requests()
        .iter()
        .flat_map(|request| request.headers.iter())
        .filter(|(name, _)| name.eq_ignore_ascii_case("user-agent"))
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(agents.into_iter().collect::<Vec<_>>(), [format!("takings/{} (c)", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn every_function_in_the_shared_library() {
    let folder = Folder::new().with_library();
    let program = folder.path().join("functions");
    cc("c99").arg("ffi-c/tests/c/functions.c").arg("-o").arg(&program).shared(&folder).ok();
    every_function(&program, &[]);
}

#[test]
fn every_function_in_the_static_library() {
    let folder = Folder::new();
    let program = folder.path().join("functions");
    cc("c99").arg("ffi-c/tests/c/functions.c").arg("-o").arg(&program).fixed().ok();
    every_function(&program, &[]);
}

#[test]
fn every_function_from_a_program_compiled_as_cpp() {
    let folder = Folder::new().with_library();
    let program = folder.path().join("functions");
    cxx("c++11")
        .args(["-x", "c++", "ffi-c/tests/c/functions.c", "-x", "none", "-o"])
        .arg(&program)
        .shared(&folder)
        .ok();
    every_function(&program, &[]);
}

/// No bad access, and nothing definitely lost.
const VALGRIND: [&str; 7] = [
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--show-leak-kinds=definite",
    "--errors-for-leak-kinds=definite",
    "--fair-sched=yes",
];

#[test]
fn valgrind_finds_nothing_in_c() {
    let folder = Folder::new().with_library();
    let program = folder.path().join("functions");
    cc("c99").arg("ffi-c/tests/c/functions.c").arg("-o").arg(&program).shared(&folder).ok();
    every_function(&program, &VALGRIND);
}

#[test]
fn valgrind_would_find_a_leak() {
    let folder = Folder::new().with_library();
    let (source, program) = (folder.path().join("leak.c"), folder.path().join("leak"));
    fs::write(&source, "#include \"takings.h\"\nint main(void) { takings_json_new(); return 0; }\n")
        .expect("a source file");
    cc("c99").arg(&source).arg("-o").arg(&program).shared(&folder).ok();
    let ended = Run::new(VALGRIND[0]).args(&VALGRIND[1..]).arg(program).end();
    assert_eq!(ended.status.code(), Some(99), "{}", ended.stderr);
}

fn layer(before: &[&str]) {
    let folder = Folder::new().with_library();
    let program = folder.path().join("layer");
    cxx("c++17").arg("ffi-c/tests/cpp/layer.cpp").arg("-o").arg(&program).shared(&folder).ok();
    let sandbox = sandbox();
    let (order_id, lost) = (order(&sandbox), lost_order(&sandbox));
    let printed = under(before, &program).args([sandbox.url(), &order_id, &lost]).klarna(&sandbox).ok();
    assert_eq!(printed, "done\n");
    assert_eq!(distinct_calls(&sandbox, &order_id), 10);
    assert_eq!(distinct_calls(&sandbox, &lost), 1, "the money moved once");
    let first = &sandbox.requests_of(&order_id)[0];
    assert_eq!(String::from_utf8_lossy(&first.body), EVERYTHING);
    assert!(first.headers.iter().any(|(_, value)| value.ends_with("(c) layer/1")), "{:?}", first.headers);
}

/// The core's own text of the request that `everything()` in layer.cpp makes.
const EVERYTHING: &str = concat!(
    r#"{"captured_amount":6000,"reference":"parcel-1","description":"Shipped","order_lines":[{"type":"physical","#,
    r#""reference":"123050","name":"Tomatoes \"red\" \\ ö","quantity":10,"quantity_unit":"kg","unit_price":600,"#,
    r#""tax_rate":2500,"total_amount":6000,"total_discount_amount":0,"total_tax_amount":1200,"#,
    r#""merchant_data":"data","product_url":"https://shop.example/tomatoes","#,
    r#""image_url":"https://shop.example/tomatoes.png","product_identifiers":{"brand":"brand","#,
    r#""category_path":"food > fruit","global_trade_item_number":"735858293167","#,
    r#""manufacturer_part_number":"BOE-123","color":"red","size":"small"},"#,
    r#""subscription":{"name":"monthly","interval":"MONTH","interval_count":1}}],"#,
    r#""shipping_info":[{"shipping_company":"DHL US","shipping_method":"Home","#,
    r#""tracking_number":"63456415674545679874","tracking_uri":"https://shipping.example/1","#,
    r#""return_shipping_company":"DHL US","return_tracking_number":"93456415674545679888","#,
    r#""return_tracking_uri":"https://shipping.example/2"},{}],"shipping_delay":0}"#,
);

#[test]
fn the_cpp_layer() {
    layer(&[]);
}

#[test]
fn valgrind_finds_nothing_in_cpp() {
    layer(&VALGRIND);
}

/// A C program that prints how many captures it made.
fn counting(source: &str, extra: &[&str]) {
    counting_under(&[], source, extra);
}

fn counting_under(before: &[&str], source: &str, extra: &[&str]) {
    let folder = Folder::new().with_library();
    let program = folder.path().join("program");
    cc("c99").arg(format!("ffi-c/tests/c/{source}")).arg("-o").arg(&program).shared(&folder).arg("-ldl").ok();
    let sandbox = sandbox();
    let order_id = order(&sandbox);
    let printed = under(before, &program).args(extra).args([sandbox.url(), &order_id]).ok();
    assert_eq!(printed.trim().parse(), Ok(distinct_calls(&sandbox, &order_id)), "{printed}");
    // a process always sends the same body, and every process its own
    let mut sent = BTreeMap::new();
    for request in sandbox.requests_of(&order_id) {
        let first = sent.entry(request.connection).or_insert_with(|| request.body.clone());
        assert_eq!(*first, request.body, "two processes on one connection");
    }
}

#[test]
fn a_client_survives_forks() {
    counting("fork.c", &[]);
}

/// No bad access in any process. A child forgets what is its parent's on purpose: no leak check.
#[test]
fn valgrind_finds_nothing_over_forks() {
    counting_under(&[VALGRIND[0], VALGRIND[1], VALGRIND[2], VALGRIND[6]], "fork.c", &[]);
}

#[test]
fn threads_share_a_client() {
    counting("threads.c", &[]);
}

#[test]
fn an_unloaded_library_leaves_its_thread_alone() {
    let library = built().join("libtakings.so");
    counting("plugin.c", &[library.to_str().expect("a path that is text")]);
}

#[test]
fn the_examples_capture_an_order() {
    let folder = Folder::new().with_library();
    let (c, cpp) = (folder.path().join("capture-c"), folder.path().join("capture-cpp"));
    cc("c99").arg("examples/capture.c").arg("-o").arg(&c).shared(&folder).ok();
    cxx("c++17").arg("examples/capture.cpp").arg("-o").arg(&cpp).shared(&folder).ok();
    let sandbox = sandbox();
    for (program, arguments) in [
        (&c, &["examples/capture.json"] as &[&str]),
        (&c, &["examples/capture.json", "my-key"]),
        (&cpp, &[]),
        (&cpp, &["examples/capture.json"]),
        (&cpp, &["examples/capture.json", "my-key-too"]),
    ] {
        let order_id = order(&sandbox);
        let run = || Run::new(program).arg(&order_id).args(arguments).klarna(&sandbox);
        let printed = run().ok();
        let made = &sandbox.ledger_of(&order_id)[0];
        let key = match arguments {
            [_, key] => (*key).to_owned(),
            _ => takings::idempotency_key(&order_id, "parcel-1").expect("a key"),
        };
        assert_eq!(printed, format!("capture {}\nkey {key}\n", made.capture_id));
        assert_eq!(run().ok(), printed, "a second run finds the same capture");
        assert_eq!(sandbox.ledger_of(&order_id).len(), 1);

        for (order_id, file, words) in
            [("no-such-order", "examples/capture.json", "NO_SUCH_ORDER"), ("order", "no-such-file", "cannot be read")]
        {
            let ended = Run::new(program).args([order_id, file]).klarna(&sandbox).end();
            assert_eq!(ended.status.code(), Some(1));
            assert!(ended.stdout.is_empty() && ended.stderr.contains(words), "{}", ended.stderr);
        }
    }
}

#[test]
fn the_adapters_compile_without_a_warning() {
    cc("c99").args(["-fsyntax-only", "tests/adapters/adapter.c"]).ok();
    cxx("c++17").args(["-fsyntax-only", "tests/adapters/adapter.cpp"]).ok();
}
