pub fn cuda_of_driver(_: &str) -> Option<(u32,u32)> { None }
