#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapline::fuzzing::exec_lines(data));
