//! The key of what is enclosed in the commit log, in a file of its own that its owner alone may read: `.tapline/key`.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;

use crate::fs::Fs;
use crate::seal::Key;

/// The file's name.
const FILE: &str = "key";
/// A key has twice as many digits as bytes, and a line's end.
const LEN_MAX: u64 = 100;

/// The key of the data folder whose own files are in `own`; it is made where there is none.
///
/// # Errors
/// When the file cannot be read or written, or has something else in it.
pub fn read_or_make(fs: &dyn Fs, own: &Path, random: impl Fn() -> Key) -> anyhow::Result<Key> {
    let path = own.join(FILE);
    match fs.read_from(&path, 0) {
        Ok(reader) => {
            let mut text = String::new();
            reader.take(LEN_MAX).read_to_string(&mut text).with_context(|| path.display().to_string())?;
            match HEXLOWER.decode(text.trim().as_bytes()).ok().and_then(|key| Key::try_from(key).ok()) {
                Some(key) => Ok(key),
                None => {
                    bail!("{} is no key; delete it to have one made, and each login is made once more", path.display())
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random();
            make(fs, own, &path, &key).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whole or not at all.
fn make(fs: &dyn Fs, own: &Path, path: &Path, key: &Key) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    fs.remove(&aside)?;
    let mut file = fs.create_private(&aside)?;
    file.append(format!("{}\n", HEXLOWER.encode(key)).as_bytes())?;
    file.sync()?;
    fs.rename(&aside, path)?;
    fs.sync_dir(own)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::fs::Disk;

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let key = |byte: u8| read_or_make(&Disk, dir.path(), || [byte; 32]);
        assert_eq!(key(1).unwrap(), [1; 32]);
        assert_eq!(key(2).unwrap(), [1; 32], "the same at each start");
        let file = dir.path().join("key");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&file, "nonsense").unwrap();
        let said = key(3).unwrap_err().to_string();
        assert!(
            said.ends_with("/key is no key; delete it to have one made, and each login is made once more"),
            "{said}"
        );
    }
}
