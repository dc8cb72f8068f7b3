//! Functions about one GPU.

use std::ffi::{c_char, c_int, c_uint};

use crate::abi::{Device, Handle, INVALID_ARGUMENT, Return, code, device, put, put_text};

/// nvmlPciInfo_t.
#[repr(C)]
pub(crate) struct PciInfo {
    bus_id_legacy: [u8; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    pci_device_id: c_uint,
    pci_subsystem_id: c_uint,
    bus_id: [u8; 32],
}

/// nvmlDeviceGetUUID, of a GPU or of a MIG instance.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUUID(
    of: Handle,
    to: *mut c_char,
    length: c_uint,
) -> Return {
    code(device("nvmlDeviceGetUUID", of).and_then(|d| {
        let uuid = d.instance.map_or(&d.gpu.uuid, |i| &i.uuid);
        // SAFETY: the caller's buffer has that length.
        unsafe { put_text(to, length, uuid) }
    }))
}

/// nvmlDeviceGetName: one name for all.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetName(
    of: Handle,
    to: *mut c_char,
    length: c_uint,
) -> Return {
    // SAFETY: the caller's buffer has that length.
    let put = |_: Device| unsafe { put_text(to, length, "NVIDIA Stub") };
    code(device("nvmlDeviceGetName", of).and_then(put))
}

/// Writes a number of a device.
///
/// # Safety
/// `to` is null, or valid for a write.
unsafe fn number<T>(function: &str, of: Handle, to: *mut T, value: fn(&Device) -> T) -> Return {
    // SAFETY: the caller's pointer is valid.
    code(device(function, of).and_then(|d| unsafe { put(to, value(&d)) }))
}

/// nvmlDeviceGetIndex.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetIndex(of: Handle, to: *mut c_uint) -> Return {
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetIndex", of, to, |d| d.index as c_uint) }
}

/// nvmlDeviceGetMinorNumber.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMinorNumber(of: Handle, to: *mut c_uint) -> Return {
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetMinorNumber", of, to, |d| d.gpu.minor) }
}

/// nvmlDeviceGetBrand.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetBrand(of: Handle, to: *mut c_uint) -> Return {
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetBrand", of, to, |d| d.gpu.brand) }
}

/// nvmlDeviceGetArchitecture: NVML_DEVICE_ARCH_* of nvml.h, from Turing on.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetArchitecture(of: Handle, to: *mut c_uint) -> Return {
    let architecture = |d: &Device| match d.gpu.arch {
        (7, 5) => 6,
        (8, 9) => 8,
        (8, _) => 7,
        (9, _) => 9,
        (10.., _) => 10,
        // NVML_DEVICE_ARCH_UNKNOWN.
        _ => c_uint::MAX,
    };
    // SAFETY: the caller's pointer is valid.
    unsafe { number("nvmlDeviceGetArchitecture", of, to, architecture) }
}

/// nvmlDeviceGetCudaComputeCapability.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    of: Handle,
    major: *mut c_int,
    minor: *mut c_int,
) -> Return {
    code(
        device("nvmlDeviceGetCudaComputeCapability", of).and_then(|d| {
            // SAFETY: the caller's pointer is valid.
            unsafe { put(major, d.gpu.arch.0) }?;
            // SAFETY: the caller's pointer is valid.
            unsafe { put(minor, d.gpu.arch.1) }
        }),
    )
}

/// nvmlDeviceGetPciInfo_v3.
///
/// # Safety
/// As nvml.h says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(of: Handle, to: *mut PciInfo) -> Return {
    code(device("nvmlDeviceGetPciInfo_v3", of).and_then(|d| {
        let info = PciInfo::of(&d.gpu.bus_id).ok_or(INVALID_ARGUMENT)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { put(to, info) }
    }))
}

impl PciInfo {
    /// Of an address as the kernel writes it, "0000:1a:00.0". NVML writes the domain in eight
    /// digits, and in capitals.
    fn of(bus_id: &str) -> Option<PciInfo> {
        let mut parts = bus_id.split([':', '.']);
        let mut number = || c_uint::from_str_radix(parts.next()?, 16).ok();
        let (domain, bus, device) = (number()?, number()?, number()?);
        let mut legacy = [0; 16];
        let mut long = [0; 32];
        fill(
            &mut legacy,
            &format!("{domain:04X}:{bus:02X}:{device:02X}.0"),
        );
        fill(&mut long, &format!("{domain:08X}:{bus:02X}:{device:02X}.0"));
        Some(PciInfo {
            bus_id_legacy: legacy,
            domain,
            bus,
            device,
            pci_device_id: 0x2330_10de,
            pci_subsystem_id: 0x16c1_10de,
            bus_id: long,
        })
    }
}

/// Copies `text`, which leaves room for the NUL byte in every buffer here.
fn fill(buffer: &mut [u8], text: &str) {
    for (to, from) in buffer.iter_mut().zip(text.bytes()) {
        *to = from;
    }
}
