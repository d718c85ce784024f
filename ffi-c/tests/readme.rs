//! The C snippet of README.md, carried out. tests/hosts carries out the rest of it, with what was installed.

mod support;

use std::fs;

use support::{Folder, Run, cc, root};
use takings_sandbox::{NewOrder, Options, Sandbox};

fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("ffi-c/README.md")).expect("README.md");
    let found: Vec<String> = readme
        .split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0.to_owned())
        .collect();
    assert!(!found.is_empty(), "README.md has no {language}");
    found
}

struct Shop {
    sandbox: Sandbox,
}

impl Shop {
    fn open() -> Shop {
        Shop { sandbox: Sandbox::start(Options::default()).expect("a sandbox") }
    }

    /// Runs a program that captures this new order once.
    fn captures(&self, run: impl FnOnce(&str) -> Run) {
        let order_id = self.sandbox.create_order(NewOrder { order_amount: 6000, ..NewOrder::default() });
        run(&order_id)
            .env("KLARNA_BASE_URL", self.sandbox.url())
            .env("KLARNA_USERNAME", "sandbox")
            .env("KLARNA_PASSWORD", "sandbox")
            .ok();
        let amounts: Vec<i64> = self.sandbox.ledger_of(&order_id).iter().map(|entry| entry.captured_amount).collect();
        assert_eq!(amounts, [6000]);
    }
}

#[test]
fn the_snippet_captures() {
    let folder = Folder::new().with_library();
    let shop = Shop::open();
    for (number, snippet) in blocks("c").into_iter().enumerate() {
        let (source, program) = (folder.path().join("snippet.c"), folder.path().join(format!("snippet-{number}")));
        let text = format!(
            "#include \"takings.h\"\nint main(int count, char **arguments) {{\n\
             takings_client_t *client = takings_client_from_env(NULL, NULL);\n\
             const char *order_id = arguments[count - 1], *key = NULL;\n{snippet}\n\
             int failed = !capture || takings_capture_warning_count(capture) != 0;\n\
             takings_capture_free(capture);\ntakings_error_free(error);\ntakings_client_free(client);\n\
             return failed;\n}}\n"
        );
        fs::write(&source, text).expect("a source file");
        cc("c99").arg(&source).arg("-o").arg(&program).shared(&folder).ok();
        shop.captures(|order_id| Run::new(&program).arg(order_id));
    }
}
