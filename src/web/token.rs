//! The token: who sends it may see everything.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// A token is compared by its hash, which takes the same time however much of it is right.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// What is asked for from now on.
    pub fn new(text: &str) -> Self {
        Self(blake3::hash(text.trim().as_bytes()))
    }

    /// Whether this is it.
    pub fn is(&self, text: &str) -> bool {
        // `blake3::Hash` compares in constant time.
        self.0 == blake3::hash(text.as_bytes())
    }
}

/// The token in a file, which is made with `random` if it is not there, readable by its owner only.
///
/// # Errors
/// When the file cannot be read or made, or what stands in it is too short to be a token.
pub fn read_or_make(file: &Path, random: &str) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let text = text.trim().to_owned();
            let keys = crate::config::HttpKeys { token: Some(text.clone()), ..Default::default() };
            if let Some((_, why)) = keys.problem() {
                anyhow::bail!("{}: {why}; delete the file to have one made", file.display());
            }
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(file, random).with_context(|| format!("cannot write the token to {}", file.display()))?;
            Ok(random.to_owned())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read the token in {}", file.display())),
    }
}

fn make(file: &Path, random: &str) -> io::Result<()> {
    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    // Whole or not at all: two that start at once end with one token.
    let aside = file.with_extension("tmp");
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(made, "{random}")?;
    made.sync_all()?;
    fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_made_once_and_read_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("own/http-token");
        let first = "0123456789abcdef0123456789abcdef";
        assert_eq!(read_or_make(&file, first).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&file, "another-that-is-not-taken").unwrap(), first);
        fs::write(&file, "short\n").unwrap();
        let why = format!("{:#}", read_or_make(&file, first).unwrap_err());
        assert!(why.contains("at least 16 characters"), "{why}");
    }

    #[test]
    fn only_the_whole_token_is_it() {
        let token = Token::new("0123456789abcdef\n");
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef "] {
            assert!(!token.is(wrong), "{wrong:?}");
        }
    }
}
