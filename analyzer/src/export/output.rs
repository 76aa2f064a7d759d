//! Where a command writes: standard output, or a file that gets its name only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::{Builder, TempPath};

/// Size of one write, in bytes.
const BUFFER: usize = 1 << 16;

/// An opened output. Dropped before [`Output::commit`], it leaves no file behind.
pub struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    pending: Option<Pending>,
}

impl Output {
    /// Opens a file; by default standard output.
    ///
    /// # Errors
    /// The file cannot be written, or it is one of the traces in `inputs`.
    pub fn open(path: Option<&Path>, inputs: &[PathBuf]) -> Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::new(Box::new(io::stdout()), None));
        };
        let unusable = || format!("{}: cannot be written", path.display());
        match fs::metadata(path) {
            Ok(existing) if existing.is_dir() => bail!("{}: is a directory", path.display()),
            // A pipe or a device cannot be replaced.
            Ok(existing) if !existing.is_file() => {
                let file = File::options().write(true).open(path).with_context(unusable)?;
                Ok(Self::new(Box::new(file), None))
            }
            Ok(existing) => {
                refuse_input(path, &existing, inputs)?;
                let path = fs::canonicalize(path).with_context(unusable)?;
                let (file, pending) =
                    Pending::create(path, existing.permissions()).with_context(unusable)?;
                Ok(Self::new(Box::new(file), Some(pending)))
            }
            Err(_) => {
                let (file, pending) =
                    Pending::create(path.to_owned(), Permissions::from_mode(0o666))
                        .with_context(unusable)?;
                Ok(Self::new(Box::new(file), Some(pending)))
            }
        }
    }

    fn new(writer: Box<dyn Write + Send>, pending: Option<Pending>) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER, writer), pending }
    }

    /// Writes what is buffered, and gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        self.writer.flush()?;
        self.pending.map_or(Ok(()), Pending::commit)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A file under a temporary name, which is deleted unless it is committed.
pub struct Pending {
    temporary: TempPath,
    path: PathBuf,
}

impl Pending {
    /// Creates the file next to `path`, hidden, so that directory scans of other programs skip it.
    pub fn create(path: PathBuf, permissions: Permissions) -> io::Result<(File, Self)> {
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let file = Builder::new()
            .prefix(".mremap-")
            .suffix(".tmp")
            .permissions(permissions)
            .tempfile_in(directory.unwrap_or(Path::new(".")))?;
        let (file, temporary) = file.into_parts();
        Ok((file, Self { temporary, path }))
    }

    /// The temporary path.
    #[cfg(feature = "parquet")]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Renames the file to its path, replacing an earlier one.
    pub fn commit(self) -> Result<()> {
        let path = self.path;
        self.temporary
            .persist(&path)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }
}

/// Refuses to overwrite a trace. Traces that cannot be found are reported when they are opened.
fn refuse_input(path: &Path, existing: &fs::Metadata, inputs: &[PathBuf]) -> Result<()> {
    let same = |file: &PathBuf| {
        fs::metadata(file)
            .is_ok_and(|file| (file.dev(), file.ino()) == (existing.dev(), existing.ino()))
    };
    if inputs.iter().any(same) {
        bail!("{}: is one of the traces to read; choose another output", path.display());
    }
    Ok(())
}
