//! The streams of models, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::edges::stream(bytes)));
