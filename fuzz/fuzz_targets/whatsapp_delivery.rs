//! WhatsApp's deliveries.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::whatsapp::delivery(bytes)));
