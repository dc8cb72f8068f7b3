//! Virtual machines with packaged kernels: for what depends on the kernel.
//!
//! qemu emulates the processor, so no KVM is needed; a machine boots in some seconds. Its root is a
//! file system in memory, made from a directory, in which a script runs as the first process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache;
use crate::debs::Debs;
use crate::error::{Context, Error, Result, run};

/// Seconds after which a machine that does not end is killed.
const DEADLINE: &str = "180";

/// Mebibytes of memory.
const MEMORY: &str = "1024";

/// Without being told, Linux 5.10 starts TOMOYO beside the others, which fails programs whose mount
/// was detached, and runc's are.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 lsm=yama";

/// Marks the lines of the script's output that are results.
const MARK: &str = "RESULT ";

/// A packaged kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 11's, 5.10: no setns by mixed sets, no mount_setattr.
    Bullseye,
    /// Debian 12's, 6.1.
    Bookworm,
    /// Debian 13's, 6.12.
    Trixie,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Kernel; 3] = [Kernel::Bullseye, Kernel::Bookworm, Kernel::Trixie];

    fn suite(self) -> &'static str {
        match self {
            Kernel::Bullseye => "bullseye",
            Kernel::Bookworm => "bookworm",
            Kernel::Trixie => "trixie",
        }
    }

    /// The kernel's image, from Debian's packages for virtual machines.
    ///
    /// # Errors
    /// Where the packages are not to be had.
    pub fn image(self, debs: &Debs) -> Result<PathBuf> {
        let meta = debs.fetch(self.suite(), "main", &["linux-image-cloud-amd64"])?;
        let meta = meta.first().ok_or_else(|| Error::new("no package"))?;
        let depends = run(Command::new("dpkg-deb")
            .arg("--field")
            .arg(meta)
            .arg("Depends"))?;
        let depends = String::from_utf8_lossy(&depends.stdout).into_owned();
        let name = depends
            .split([' ', ',', '\n'])
            .find(|word| word.starts_with("linux-image-"))
            .ok_or_else(|| {
                Error::new(format!(
                    "{} depends on no kernel: {depends}",
                    meta.display()
                ))
            })?;
        let package = debs.fetch(self.suite(), "main", &[name])?;
        let package = package.first().ok_or_else(|| Error::new("no package"))?;
        let kept = cache::directory()?.join("kernels").join(name);
        cache::once(&kept, |dir| {
            let all = dir.join("all");
            debs.unpack(package, &all)?;
            let boot = fs::read_dir(all.join("boot")).during("list boot")?;
            let image = boot.flatten().map(|e| e.path()).find(|p| {
                p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz"))
            });
            let image = image.ok_or_else(|| Error::new(format!("{name} has no kernel")))?;
            fs::copy(image, dir.join("vmlinuz")).during("copy the kernel")?;
            fs::remove_dir_all(all).during("remove the rest")
        })?;
        Ok(kept.join("vmlinuz"))
    }
}

/// The root of a machine, to be filled.
pub struct Root {
    /// Where it is.
    pub path: PathBuf,
}

impl Root {
    /// A root at `path` with a shell and its tools (busybox).
    ///
    /// # Errors
    /// Where busybox is not installed.
    pub fn new(path: &Path) -> Result<Root> {
        for dir in ["bin", "dev", "proc", "sys", "run", "tmp", "new"] {
            fs::create_dir_all(path.join(dir)).during("make a directory")?;
        }
        let root = Root {
            path: path.to_path_buf(),
        };
        fs::copy("/bin/busybox", path.join("bin/busybox")).during("copy busybox")?;
        Ok(root)
    }

    /// Puts the host's program at `program` to the same path, with the libraries that it loads.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn program(&self, program: &Path) -> Result<()> {
        let mut files = vec![program.to_path_buf()];
        if let Ok(output) = Command::new("ldd").arg(program).output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let paths = text.split_whitespace().filter(|w| w.starts_with('/'));
            files.extend(paths.map(PathBuf::from));
        }
        for file in files {
            let relative = file.strip_prefix("/").unwrap_or(&file);
            let to = self.path.join(relative);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).during("make a directory")?;
            }
            fs::copy(&file, &to).during(format_args!("copy {}", file.display()))?;
        }
        Ok(())
    }

    /// Boots `kernel` with this root, runs the shell commands `script` in it, and returns what
    /// followed the mark in the lines that began with it: `echo "RESULT ..."`.
    ///
    /// # Errors
    /// Where the machine does not come to the script's end, with its last words.
    pub fn boot(&self, kernel: &Path, script: &str) -> Result<Vec<String>> {
        // pivot_root(2), which runtimes call, does not work in the initial root file system.
        let first = "#!/bin/busybox sh\n\
                     /bin/busybox mount -t tmpfs tmpfs /new\n\
                     cd / && for f in bin dev proc sys run tmp lib lib64 usr opt etc sbin b host; do\n\
                     [ -e $f ] && /bin/busybox cp -a $f /new/; done\n\
                     /bin/busybox cp -a /second /new/\n\
                     exec /bin/busybox switch_root /new /second\n";
        let second = format!(
            "#!/bin/busybox sh\n\
             /bin/busybox --install -s /bin\n\
             export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
             mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev\n\
             mount -t cgroup2 cgroup /sys/fs/cgroup\n\
             {script}\n\
             echo '{MARK}end'\n\
             poweroff -f\n"
        );
        for (name, text) in [("init", first), ("second", &second)] {
            let path = self.path.join(name);
            fs::write(&path, text).during("write a script")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).during("chmod")?;
        }
        let archive = self.path.with_extension("cpio");
        let pack = format!(
            "find . | cpio --quiet --create --format=newc > '{}'",
            archive.display()
        );
        run(Command::new("sh")
            .args(["-c", &pack])
            .current_dir(&self.path))?;
        let output = Command::new("timeout")
            .args([
                "-s",
                "KILL",
                DEADLINE,
                "qemu-system-x86_64",
                "-nodefaults",
                "-no-reboot",
                "-nographic",
            ])
            .args(["-serial", "stdio", "-cpu", "max", "-smp", "1", "-m", MEMORY])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&archive)
            .args(["-append", KERNEL_OPTIONS])
            .stdin(Stdio::null())
            .output()
            .during("start qemu-system-x86_64")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let results = text.lines().filter_map(|l| {
            l.split_once(MARK)
                .map(|(_, rest)| rest.trim_end().to_owned())
        });
        let mut results: Vec<String> = results.collect();
        match results.pop() {
            Some(end) if end == "end" => Ok(results),
            _ => {
                let last: Vec<&str> = text.lines().rev().take(30).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Err(Error::new(format!(
                    "the machine did not come to its end: {}",
                    last.join("\n")
                )))
            }
        }
    }
}
