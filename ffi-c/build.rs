//! What the linker must know about libtakings.so.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Programs remember this name: it changes only with the ABI.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtakings.so.0");
        // A dlclose would take the code away under the thread that serves the connections.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
