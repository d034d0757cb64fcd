//! The bodies that the targets run: the same files that `cargo test --workspace` runs over the seeds and some thousands of bent ones.

#[path = "../../tests/fuzz/edges.rs"]
pub mod edges;
#[path = "../../local-bridge/tests/fuzz/law.rs"]
pub mod law;
#[path = "../../tests/fuzz/whatsapp.rs"]
pub mod whatsapp;
#[path = "../../tests/fuzz/wire.rs"]
pub mod wire;

/// Stops the fuzzer where a body does not hold.
///
/// # Panics
/// Where it does not.
pub fn held(told: Result<bool, String>) {
    if let Err(broken) = told {
        panic!("{broken}");
    }
}
