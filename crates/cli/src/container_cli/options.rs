//! The options of the tool and of its commands.

use super::grammar::Takes::{Nothing, Perhaps, Value};
use super::grammar::{Grammar, Opt};

/// Rows of long name, short name, value and help. Help is empty for what is not for users.
macro_rules! options {
    ($($long:literal $short:literal $takes:expr => $help:literal;)*) => {
        &[$(Opt { long: $long, short: $short, takes: $takes, help: $help },)*]
    };
}

pub(super) const TOOL: Grammar = Grammar {
    command: "",
    operands: "info|list|configure [ARG...]",
    about: "Puts NVIDIA GPUs into containers. Each command has a --help of its own.",
    options: options! {
        "debug" "d" Value("FILE") => "Append what is done, and why, to FILE";
        "load-kmods" "k" Nothing => "Make missing device nodes; no module is loaded";
        "no-pivot" "n" Nothing => "No effect: nothing here changes its root";
        "user" "u" Perhaps("UID[:GID]") => "No effect: no code of the driver is run";
        "root" "r" Value("PATH") => "Directory whose files are the driver's";
        "ldcache" "l" Value("FILE") => "The loader's cache, in that directory";
        "no-create-imex-channels" "" Nothing => "No effect: no IMEX channel is made";
        "host-root" "" Value("DIR") => "";
    },
};

pub(super) const INFO: Grammar = Grammar {
    command: "info",
    operands: "",
    about: "Prints the driver and the GPUs.",
    options: options! {
        "csv" "" Nothing => "As comma-separated values";
    },
};

pub(super) const LIST: Grammar = Grammar {
    command: "list",
    operands: "",
    about: "Prints the paths of what containers can get: all of them where none are named.",
    options: options! {
        "device" "d" Value("ID") => "Nodes of these GPUs and MIG instances";
        "libraries" "l" Nothing => "Libraries";
        "binaries" "b" Nothing => "Programs";
        "ipcs" "i" Nothing => "Sockets of the driver's daemons";
        "firmwares" "f" Nothing => "Firmware";
        "compat32" "" Nothing => "With --libraries: 32-bit libraries, too";
        "mig-config" "" Value("ID") => "What configuring MIG takes (all)";
        "mig-monitor" "" Value("ID") => "What watching MIG takes (all)";
        "imex-channel" "" Value("CHANNEL") => "Nodes of these IMEX channels";
        "no-persistenced" "" Nothing => "Leave out nvidia-persistenced's socket";
        "no-fabricmanager" "" Nothing => "Leave out the fabric manager's socket";
        "no-gsp-firmware" "" Nothing => "Leave out GSP firmware";
    },
};

pub(super) const CONFIGURE: Grammar = Grammar {
    command: "configure",
    operands: "ROOTFS",
    about: "Puts GPUs into the container whose root is ROOTFS.",
    options: options! {
        "pid" "p" Value("PID") => "The container's process; none: it is this mount namespace";
        "device" "d" Value("ID") => "GPUs, MIG instances: index, UUID or PCI address, or all";
        "require" "r" Value("EXPR") => "A condition on the driver and the GPUs";
        "ldconfig" "l" Value("PATH") => "No effect: no ldconfig is run";
        "compute" "c" Nothing => "CUDA and OpenCL";
        "utility" "u" Nothing => "nvidia-smi and NVML";
        "video" "v" Nothing => "Video encoding and decoding";
        "graphics" "g" Nothing => "OpenGL and Vulkan";
        "display" "D" Nothing => "X11 and Wayland displays";
        "ngx" "n" Nothing => "DLSS";
        "compat32" "" Nothing => "32-bit libraries, too";
        "mig-config" "" Value("ID") => "The right to configure MIG (all)";
        "mig-monitor" "" Value("ID") => "The right to watch MIG (all)";
        "imex-channel" "" Value("CHANNEL") => "IMEX channels, by number";
        "no-cgroups" "" Nothing => "Leave the device cgroup alone";
        "no-devbind" "" Nothing => "Put no device nodes into the container";
        "no-persistenced" "" Nothing => "Leave out nvidia-persistenced's socket";
        "no-fabricmanager" "" Nothing => "Leave out the fabric manager's socket";
        "no-gsp-firmware" "" Nothing => "Leave out GSP firmware";
        "no-cntlibs" "" Nothing => "As --cuda-compat-mode=disabled";
        "cuda-compat-mode" "" Value("MODE") => "disabled, mount, ldconfig: whether the image's CUDA libraries come first where they fit";
    },
};

/// What argp adds to every command.
pub(super) static COMMON: &[Opt] = options! {
    "help" "?" Nothing => "Print this";
    "usage" "" Nothing => "Print the options alone";
    "version" "V" Nothing => "Print the versions";
};
