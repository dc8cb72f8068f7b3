//! The three calls that nvml-wrapper has not, or whose answers it refuses.

use std::ffi::c_uint;

use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

type GetNumber = unsafe extern "C" fn(nvmlDevice_t, *mut c_uint) -> nvmlReturn_t;

/// nvmlDeviceGetBrand, as a number: nvml-wrapper refuses those that are newer than itself.
pub(crate) fn brand(nvml: &Nvml, device: &Device<'_>) -> Result<u32, NvmlError> {
    number(nvml.lib().nvmlDeviceGetBrand.as_ref(), device)
}

/// nvmlDeviceGetGpuInstanceId of a MIG device.
pub(crate) fn gpu_instance(nvml: &Nvml, device: &Device<'_>) -> Result<u32, NvmlError> {
    number(nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref(), device)
}

/// nvmlDeviceGetComputeInstanceId of a MIG device.
pub(crate) fn compute_instance(nvml: &Nvml, device: &Device<'_>) -> Result<u32, NvmlError> {
    number(nvml.lib().nvmlDeviceGetComputeInstanceId.as_ref(), device)
}

fn number<E: std::fmt::Display>(
    symbol: Result<&GetNumber, &E>,
    device: &Device<'_>,
) -> Result<u32, NvmlError> {
    let call = symbol.map_err(|e| NvmlError::FailedToLoadSymbol(e.to_string()))?;
    // SAFETY: the handle is used while `device` borrows the library that it is of.
    let handle = unsafe { device.handle() };
    let mut number: c_uint = 0;
    // SAFETY: the function is that of nvml.h with this signature, from the library that made the
    // handle, and writes one c_uint to the pointer, which is valid for the call.
    nvml_try(unsafe { call(handle, &raw mut number) })?;
    Ok(number)
}
