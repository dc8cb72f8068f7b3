//! What crosses the border to C: return codes, handles, and writes to the caller's memory.

use std::ffi::{CStr, c_char, c_void};

use crate::host::{Gpu, Instance, host};

/// nvmlReturn_t.
pub(crate) type Return = u32;

pub(crate) const SUCCESS: Return = 0;
pub(crate) const INVALID_ARGUMENT: Return = 2;
pub(crate) const NOT_SUPPORTED: Return = 3;
pub(crate) const NOT_FOUND: Return = 6;
pub(crate) const INSUFFICIENT_SIZE: Return = 7;
pub(crate) const GPU_IS_LOST: Return = 15;

/// nvmlDevice_t: a number, never an address. Its low half is the place of a GPU, from 1; its high
/// half that of a MIG instance, or 0.
pub(crate) type Handle = *mut c_void;

const HIGH: usize = 16;

/// The handle of a GPU, or of its instance at that place.
pub(crate) fn handle(gpu: usize, instance: Option<usize>) -> Handle {
    let number = (gpu + 1) | instance.map_or(0, |i| i + 1) << HIGH;
    std::ptr::without_provenance_mut(number)
}

/// What a handle is of.
pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) gpu: &'static Gpu,
    pub(crate) instance: Option<&'static Instance>,
}

/// The device of a handle; a call in which the host aborts does not return.
pub(crate) fn device(function: &str, handle: Handle) -> Result<Device, Return> {
    entered(function);
    let number = handle.addr();
    let (gpu, instance) = (number & ((1 << HIGH) - 1), number >> HIGH);
    let index = gpu.checked_sub(1).ok_or(INVALID_ARGUMENT)?;
    let gpu = host().gpus.get(index).ok_or(INVALID_ARGUMENT)?;
    let instance = match instance.checked_sub(1) {
        Some(place) => Some(gpu.instances.get(place).ok_or(INVALID_ARGUMENT)?),
        None => None,
    };
    match gpu.lost {
        true => Err(GPU_IS_LOST),
        false => Ok(Device {
            index,
            gpu,
            instance,
        }),
    }
}

/// Ends the process where the host says so.
pub(crate) fn entered(function: &str) {
    if host().aborts_in.iter().any(|name| name == function) {
        std::process::abort();
    }
}

/// The return code of a result.
pub(crate) fn code(result: Result<(), Return>) -> Return {
    result.err().unwrap_or(SUCCESS)
}

/// Writes `value` for the caller.
///
/// # Safety
/// `to` is null, or valid for a write.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Result<(), Return> {
    if to.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: it is not null, so it is valid for a write by the contract of this function.
    unsafe { to.write(value) };
    Ok(())
}

/// Writes `text` and a NUL byte for the caller.
///
/// # Safety
/// `to` is null, or valid for writes of `length` bytes.
pub(crate) unsafe fn put_text(to: *mut c_char, length: u32, text: &str) -> Result<(), Return> {
    if to.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    let to = to.cast::<u8>();
    // SAFETY: `to` is valid for `length` bytes, which are more than the text's, and a buffer of the
    // caller does not overlap a string of ours.
    unsafe { to.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
    // SAFETY: the text's length is below `length`.
    let end = unsafe { to.add(text.len()) };
    // SAFETY: it lies in the buffer.
    unsafe { end.write(0) };
    Ok(())
}

/// A string of the caller.
///
/// # Safety
/// `from` is null, or a string that ends with a NUL byte and lives as long as the call.
pub(crate) unsafe fn text<'a>(from: *const c_char) -> Result<&'a str, Return> {
    if from.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: it is not null, so it is a string by the contract of this function.
    let text = unsafe { CStr::from_ptr(from) };
    text.to_str().map_err(|_| INVALID_ARGUMENT)
}
