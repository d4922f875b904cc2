//! A few seeds of chaos over the debug binaries; `cargo run --release -p local -- chaos` plays as many as there is time for.

use support::{build_functions, local, target_folder};

/// What is played: enough for deliveries, sends, rotations, pauses and moves, and done in a minute.
const ARGUMENTS: [&str; 5] = ["chaos", "--seeds", "1..5", "--events", "100"];

#[test]
fn chaos_loses_doubles_and_misreports_nothing() {
    build_functions();

    let output = local().arg("--binaries").arg(target_folder()).args(ARGUMENTS).output().unwrap();

    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}
