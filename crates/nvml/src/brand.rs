//! The names of NVML's brands.

/// nvmlBrandType_t of nvml.h, by number. The names are those that images ask for
/// (`NVIDIA_REQUIRE_*=brand=tesla`), as libnvidia-container spells them.
const NAMES: [&str; 17] = [
    "Unknown",
    "Quadro",
    "Tesla",
    "NVS",
    "GRID",
    "GeForce",
    "TITAN",
    "VApps",
    "VPC",
    "VCS",
    "VWS",
    "CloudGaming",
    "QuadroRTX",
    "NvidiaRTX",
    "Nvidia",
    "GeForceRTX",
    "TitanRTX",
];

/// The name of brand `number`; none for one that is newer than this table.
pub(crate) fn name(number: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use nvml_wrapper_sys::bindings as sys;

    /// Against the header that nvml-wrapper-sys was made from.
    #[test]
    fn numbers_have_the_headers_names() {
        let rows = [
            (sys::nvmlBrandType_enum_NVML_BRAND_UNKNOWN, Some("Unknown")),
            (sys::nvmlBrandType_enum_NVML_BRAND_QUADRO, Some("Quadro")),
            (sys::nvmlBrandType_enum_NVML_BRAND_TESLA, Some("Tesla")),
            (sys::nvmlBrandType_enum_NVML_BRAND_NVS, Some("NVS")),
            (sys::nvmlBrandType_enum_NVML_BRAND_GRID, Some("GRID")),
            (sys::nvmlBrandType_enum_NVML_BRAND_GEFORCE, Some("GeForce")),
            (sys::nvmlBrandType_enum_NVML_BRAND_TITAN, Some("TITAN")),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_VAPPS,
                Some("VApps"),
            ),
            (sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_VPC, Some("VPC")),
            (sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_VCS, Some("VCS")),
            (sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_VWS, Some("VWS")),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_CLOUD_GAMING,
                Some("CloudGaming"),
            ),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_QUADRO_RTX,
                Some("QuadroRTX"),
            ),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_RTX,
                Some("NvidiaRTX"),
            ),
            (sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA, Some("Nvidia")),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_GEFORCE_RTX,
                Some("GeForceRTX"),
            ),
            (
                sys::nvmlBrandType_enum_NVML_BRAND_TITAN_RTX,
                Some("TitanRTX"),
            ),
            (sys::nvmlBrandType_enum_NVML_BRAND_COUNT, None),
            (u32::MAX, None),
        ];
        for (number, brand) in rows {
            assert_eq!(super::name(number), brand, "{number}");
        }
    }
}
