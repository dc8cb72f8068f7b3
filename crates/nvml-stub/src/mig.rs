//! Functions about MIG.

use std::ffi::c_uint;

use crate::abi::{Device, Handle, NOT_FOUND, NOT_SUPPORTED, Return, code, device, handle, put};
use crate::host::Instance;

/// How many places for MIG instances NVML says that a GPU has.
const PLACES: usize = 7;

/// nvmlDeviceGetMigMode.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigMode(
    of: Handle,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> Return {
    code(device("nvmlDeviceGetMigMode", of).and_then(|d| {
        let mode = c_uint::from(d.gpu.mig_mode.ok_or(NOT_SUPPORTED)?);
        // SAFETY: the caller's pointer is valid.
        unsafe { put(current, mode) }?;
        // SAFETY: the caller's pointer is valid.
        unsafe { put(pending, mode) }
    }))
}

/// nvmlDeviceGetMaxMigDeviceCount.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    of: Handle,
    to: *mut c_uint,
) -> Return {
    code(device("nvmlDeviceGetMaxMigDeviceCount", of).and_then(|d| {
        let places = d.gpu.mig_mode.map_or(0, |_| PLACES);
        // SAFETY: the caller's pointer is valid.
        unsafe { put(to, places as c_uint) }
    }))
}

/// nvmlDeviceGetMigDeviceHandleByIndex. Instances fill the places from the last one down, so that
/// empty places come first: a caller that stops at one finds nothing.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    of: Handle,
    place: c_uint,
    to: *mut Handle,
) -> Return {
    code(
        device("nvmlDeviceGetMigDeviceHandleByIndex", of).and_then(|d| {
            let instance = (PLACES - 1)
                .checked_sub(place as usize)
                .filter(|i| *i < d.gpu.instances.len())
                .ok_or(NOT_FOUND)?;
            // SAFETY: the caller's pointer is valid.
            unsafe { put(to, handle(d.index, Some(instance))) }
        }),
    )
}

/// Writes a number of a MIG instance.
///
/// # Safety
/// `to` is null, or valid for a write.
unsafe fn number(
    function: &str,
    of: Handle,
    to: *mut c_uint,
    value: fn(&Instance) -> u32,
) -> Return {
    code(device(function, of).and_then(|d| {
        let instance = d.instance.ok_or(NOT_SUPPORTED)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { put(to, value(instance)) }
    }))
}

/// nvmlDeviceGetGpuInstanceId.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(of: Handle, to: *mut c_uint) -> Return {
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetGpuInstanceId", of, to, |i| i.gi) }
}

/// nvmlDeviceGetComputeInstanceId.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(
    of: Handle,
    to: *mut c_uint,
) -> Return {
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetComputeInstanceId", of, to, |i| i.ci) }
}

/// nvmlDeviceIsMigDeviceHandle.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceIsMigDeviceHandle(of: Handle, to: *mut c_uint) -> Return {
    let is = |d: Device| {
        // SAFETY: the caller's pointer is valid.
        unsafe { put(to, c_uint::from(d.instance.is_some())) }
    };
    code(device("nvmlDeviceIsMigDeviceHandle", of).and_then(is))
}

/// nvmlDeviceGetDeviceHandleFromMigDeviceHandle.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    of: Handle,
    to: *mut Handle,
) -> Return {
    let parent = |d: Device| {
        // SAFETY: the caller's pointer is valid.
        unsafe { put(to, handle(d.index, None)) }
    };
    code(device("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", of).and_then(parent))
}
