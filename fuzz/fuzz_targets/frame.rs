//! Frames and what travels inside them, as JSON text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::wire::frame(bytes)));
