//! Rules and commands, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::law::argv(bytes)));
