//! What is asked of those who can try a source: the form gives them what somebody typed.

use async_trait::async_trait;

use crate::report::trial::Report;

/// Tries a source.
#[async_trait]
pub trait Trial: Send + Sync {
    /// Reads `yaml` as the file of a source of this name, and asks once or listens for some seconds. References to the
    /// environment and to files are refused: whoever may try a source need not be allowed to read the machine's secrets.
    ///
    /// # Errors
    /// Everything that is wrong with the text, with line and column; nothing was tried then.
    async fn try_source(&self, name: &str, yaml: &str) -> Result<Report, Vec<String>>;
}
