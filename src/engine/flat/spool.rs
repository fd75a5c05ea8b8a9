//! Temporary files for layers.

use std::{
    fs::File,
    io::{self, BufWriter, Seek as _, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::BUFFER;

/// This many zeros in a row, or more, become a hole of a file.
const HOLE: usize = 4096;
static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// Ends work in a thread that nothing waits for any longer, and counts as activity what goes on there.
#[derive(Clone)]
pub(in crate::engine) struct Interrupt {
    is_set: Arc<AtomicBool>,
    touch: Arc<dyn Fn() + Send + Sync>,
}

/// Sets the interrupt when it is dropped.
pub(in crate::engine) struct InterruptGuard(Arc<AtomicBool>);

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt {
    pub(in crate::engine) fn new(
        touch: impl Fn() + Send + Sync + 'static,
    ) -> (Self, InterruptGuard) {
        let is_set = Arc::new(AtomicBool::new(false));
        (Self { is_set: Arc::clone(&is_set), touch: Arc::new(touch) }, InterruptGuard(is_set))
    }

    fn check(&self) -> io::Result<()> {
        (self.touch)();
        if self.is_set.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it was cancelled"));
        }
        Ok(())
    }
}

/// A temporary file without a name, with holes for zeros.
pub(super) struct Spool<'i> {
    file: BufWriter<File>,
    size: u64,
    interrupt: &'i Interrupt,
}

/// A temporary file that is complete.
pub(super) struct SpooledTar {
    file: File,
    size: u64,
    interrupt: Interrupt,
}

impl<'i> Spool<'i> {
    pub(super) fn new(interrupt: &'i Interrupt) -> io::Result<Self> {
        let file = tempfile::tempfile().map_err(in_folder)?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), size: 0, interrupt })
    }

    pub(super) fn finish(mut self) -> io::Result<SpooledTar> {
        self.file.flush().map_err(in_folder)?;
        let file = self.file.into_inner().map_err(|error| in_folder(error.into_error()))?;
        // A hole at the end was not written.
        file.set_len(self.size).map_err(in_folder)?;
        Ok(SpooledTar { file, size: self.size, interrupt: self.interrupt.clone() })
    }
}

impl Write for Spool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        let bytes = &bytes[..bytes.len().min(BUFFER)];
        if bytes.len() >= HOLE && *bytes == ZEROS[..bytes.len()] {
            let length = i64::try_from(bytes.len()).unwrap_or_default();
            self.file.seek(SeekFrom::Current(length)).map_err(in_folder)?;
        } else {
            self.file.write_all(bytes).map_err(in_folder)?;
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl SpooledTar {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Another handle of the same file.
    pub(super) fn again(&self) -> io::Result<Self> {
        let file = self.file.try_clone()?;
        Ok(Self { file, size: self.size, interrupt: self.interrupt.clone() })
    }

    pub(super) fn copy(&self, offset: u64, size: u64, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER))];
        let (mut offset, end) = (offset, offset + size);
        while offset < end {
            self.interrupt.check()?;
            let length = buffer.len().min(usize::try_from(end - offset).unwrap_or(BUFFER));
            self.file.read_exact_at(&mut buffer[..length], offset).map_err(in_folder)?;
            out.write_all(&buffer[..length])?;
            offset += length as u64;
        }
        Ok(())
    }
}

/// A temporary file could not be written or read: the disk may be full, or the folder may be missing.
#[derive(Debug, thiserror::Error)]
#[error("cannot write a temporary file in `{}` (`TMPDIR` names the folder): {source}", .folder.display())]
pub(in crate::engine) struct TemporaryFileError {
    folder: PathBuf,
    source: io::Error,
}

fn in_folder(source: io::Error) -> io::Error {
    let kind = source.kind();
    io::Error::new(kind, TemporaryFileError { folder: std::env::temp_dir(), source })
}
