//! Flags for the linker of the shared library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=abi.txt");
    // Programs remember the library under a name with the ABI's number, which changes only with the ABI.
    let abi = std::fs::read_to_string("abi.txt").expect("abi.txt");
    let number = abi.lines().find_map(|line| line.strip_prefix("abi ")).expect("abi.txt says `abi NUMBER`");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtakings.so.{number}");
            // A dlclose would unload the code under a thread that looks up a name or does a call.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        Ok("macos") => println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libtakings.{number}.dylib"),
        _ => {}
    }
}
