//! Pieces of files as binary frames.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::wire::chunk(bytes)));
