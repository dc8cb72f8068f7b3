#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_gpu_fuzz_targets::config::check(data));
