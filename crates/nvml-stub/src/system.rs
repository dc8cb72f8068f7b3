//! Functions that are about no single GPU.

use std::ffi::{c_char, c_int, c_uint};
use std::fs;
use std::io::Write;

use crate::abi::{Handle, NOT_FOUND, Return, SUCCESS, code, entered, handle, put, put_text, text};
use crate::host::host;

fn init() -> Return {
    entered("nvmlInit_v2");
    if let Some((from, to)) = &host().starts
        && fs::rename(from, to).is_err()
    {
        return NOT_FOUND;
    }
    match host().init.as_deref() {
        None => SUCCESS,
        Some("hang") => loop {
            std::thread::park();
        },
        Some("flood") => {
            let line = [b'x'; 1024];
            let mut out = std::io::stdout().lock();
            for _ in 0..2048 {
                // Whoever reads may have had enough.
                if out.write_all(&line).is_err() {
                    break;
                }
            }
            SUCCESS
        }
        Some(number) => number.parse().unwrap_or(999),
    }
}

/// nvmlInit_v2.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInit_v2() -> Return {
    init()
}

/// nvmlInitWithFlags; the flags are not looked at.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> Return {
    init()
}

/// nvmlShutdown.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlShutdown() -> Return {
    entered("nvmlShutdown");
    SUCCESS
}

/// nvmlErrorString: one text for all.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlErrorString(result: Return) -> *const c_char {
    match result {
        SUCCESS => c"Success".as_ptr(),
        _ => c"An error of the stub".as_ptr(),
    }
}

/// nvmlSystemGetDriverVersion.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetDriverVersion(
    to: *mut c_char,
    length: c_uint,
) -> Return {
    entered("nvmlSystemGetDriverVersion");
    // SAFETY: the caller's buffer has that length.
    code(unsafe { put_text(to, length, &host().driver) })
}

/// nvmlSystemGetNVMLVersion: "12." and the driver's version, as NVML has it.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetNVMLVersion(
    to: *mut c_char,
    length: c_uint,
) -> Return {
    let version = format!("12.{}", host().driver);
    // SAFETY: the caller's buffer has that length.
    code(unsafe { put_text(to, length, &version) })
}

/// nvmlSystemGetCudaDriverVersion_v2.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut c_int) -> Return {
    entered("nvmlSystemGetCudaDriverVersion_v2");
    // SAFETY: the caller's pointer is valid.
    code(unsafe { put(to, host().cuda) })
}

/// nvmlDeviceGetCount_v2.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> Return {
    entered("nvmlDeviceGetCount_v2");
    // SAFETY: the caller's pointer is valid.
    code(unsafe { put(to, host().gpus.len() as c_uint) })
}

/// nvmlDeviceGetHandleByIndex_v2. The driver opens the GPU here, so a lost one fails.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    to: *mut Handle,
) -> Return {
    let wanted = handle(index as usize, None);
    match crate::abi::device("nvmlDeviceGetHandleByIndex_v2", wanted) {
        // SAFETY: the caller's pointer is valid.
        Ok(_) => code(unsafe { put(to, wanted) }),
        Err(e) => e,
    }
}

/// nvmlDeviceGetHandleByUUID, of a GPU or of a MIG instance.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    from: *const c_char,
    to: *mut Handle,
) -> Return {
    // SAFETY: the caller's string ends with a NUL byte.
    let wanted = match unsafe { text(from) } {
        Ok(wanted) => wanted,
        Err(e) => return e,
    };
    let found = host().gpus.iter().enumerate().find_map(|(g, gpu)| {
        let place = gpu.instances.iter().position(|i| i.uuid == wanted);
        (gpu.uuid == wanted || place.is_some()).then(|| handle(g, place))
    });
    match found {
        // SAFETY: the caller's pointer is valid.
        Some(found) => code(unsafe { put(to, found) }),
        None => NOT_FOUND,
    }
}
