//! One process owns a database file: SQLite's own locks let several write, but only one may decide.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};

/// The lock beside a database file, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock of a database, or tells which process has it.
    pub(super) fn take(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| StoreError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "of unknown id".to_owned() };
                return Err(StoreError::InUse { path: database.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            file.flush()
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_learns_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("jobs.db");
        let first = FileLock::take(&database).unwrap();
        let refused = FileLock::take(&database).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(first);
        FileLock::take(&database).unwrap();
    }
}
