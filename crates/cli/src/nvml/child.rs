//! The program that asks NVML, as a child that may do anything but delay us for long.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, absolute};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longest answer, in bytes. 32 GPUs with 8 instances each take 60 KiB.
const LIMIT: u64 = 1 << 20;

/// How long the kernel may take to end it: a process that waits for a broken GPU cannot be ended.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What the program prints about the NVML at `library`, or why there is nothing.
pub(super) fn run(program: &Path, library: &Path, deadline: Duration) -> Result<Vec<u8>, String> {
    let shown = program.display();
    let cannot = |e: io::Error| format!("run {shown}: {e}");
    let mut child = Command::new(absolute(program).map_err(cannot)?)
        .arg("--library")
        .arg(absolute(library).map_err(cannot)?)
        // The driver's library obeys variables, and so does the loader.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let answer = answer(&mut child, deadline);
    if answer.is_err() {
        stop(&mut child);
    }
    let (status, out, err) = answer?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(out),
        (_, Some(signal)) => Err(format!(
            "{shown} was ended by signal {signal}: {} crashed in it",
            library.display()
        )),
        (_, None) => Err(match String::from_utf8_lossy(&err).lines().next() {
            Some(line) => line.to_owned(),
            None => format!("{shown} failed ({status}) without a word"),
        }),
    }
}

/// How it ended, and what it printed.
fn answer(child: &mut Child, deadline: Duration) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), String> {
    let end = Instant::now() + deadline;
    let late = || format!("no answer within {} s", deadline.as_secs());
    let out = read(child.stdout.take());
    let err = read(child.stderr.take());
    let mut texts = [Vec::new(), Vec::new()];
    for (text, from) in texts.iter_mut().zip([out, err]) {
        let left = end.saturating_duration_since(Instant::now());
        *text = from.recv_timeout(left).map_err(|_| late())?;
        if text.len() as u64 > LIMIT {
            return Err(format!("an answer of more than {LIMIT} bytes"));
        }
    }
    let status = wait(child, end).ok_or_else(late)?;
    let [out, err] = texts;
    Ok((status, out, err))
}

/// Reads to the end, or a little more than may be, beside us.
fn read(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (to, text) = channel();
    thread::spawn(move || {
        let mut read = Vec::new();
        if let Some(from) = from {
            // What was read before an error tells more than the error.
            let _ = from.take(LIMIT + 1).read_to_end(&mut read);
        }
        // Nobody listens any more once the time is up.
        let _ = to.send(read);
    });
    text
}

/// Its status, if it ends in time.
fn wait(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(LOOK),
            _ => return None,
        }
    }
}

/// Ends it, as far as the kernel can.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = wait(child, Instant::now() + GRACE);
}
