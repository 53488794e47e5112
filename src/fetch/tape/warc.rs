//! WARC files (ISO 28500:2017, <https://iipc.github.io/warc-specifications/>): written a record at a time, each compressed by itself.

#[cfg(any(test, fuzzing))]
pub(super) mod checks;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, SecondsFormat, Utc};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::super::Failure;
use super::super::request::{Answer, Body};
use url::Url;

use crate::secrets;

/// A file is ended when it is so long, in compressed bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// No record that is read is longer.
const BLOCK_BYTES_MAX: usize = 256 << 20;
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// One thing that came, or did not.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) date: DateTime<Utc>,
    /// 32 hexadecimal digits.
    pub(super) id: String,
    pub(super) slot: Option<DateTime<Utc>>,
    pub(super) asked: String,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Answer {
        url: String,
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    },
    /// The kind of failure, and its words.
    Failure(String, String),
}

impl What {
    pub(super) fn of(answer: &Result<Answer, Failure>) -> Self {
        let shown = |url: &Url| secrets::hide(url.as_str()).into_owned();
        match answer {
            Ok(Answer::Page(body) | Answer::Refused(_, body)) => Self::answer(body),
            Ok(Answer::NotModified { url, .. }) => Self::Answer {
                url: shown(url),
                status: StatusCode::NOT_MODIFIED,
                headers: HeaderMap::new(),
                body: Vec::new(),
            },
            Err(failure) => {
                let (kind, cause) = match failure {
                    Failure::Lost(cause) => ("lost".to_owned(), cause),
                    Failure::Forbidden(cause) => ("forbidden".to_owned(), cause),
                    Failure::Resting { wait, cause } => (format!("resting {}", wait.as_millis()), cause),
                };
                Self::Failure(kind, secrets::hide(&format!("{cause:#}")).into_owned())
            }
        }
    }

    fn answer(body: &Body) -> Self {
        let url = secrets::hide(body.url.as_str()).into_owned();
        Self::Answer { url, status: body.status, headers: body.headers.clone(), body: body.bytes.clone() }
    }
}

/// A file that is being written.
pub(super) struct Writer {
    file: File,
    bytes: u64,
}

impl Writer {
    /// Begins a file, with a record that says what it is.
    pub(super) fn create(folder: &Path, source: &str, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let cannot = || format!("{} cannot be written", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        // Two begun within a microsecond would have one name; then the second is not begun.
        let path = folder.join(format!("{source}-{}.warc.gz", now.format("%Y%m%dT%H%M%S%6f")));
        let file = File::create_new(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let mut writer = Self { file, bytes: 0 };
        let about = format!("software: tapline/{}\r\nformat: WARC File Format 1.1\r\n", env!("CARGO_PKG_VERSION"));
        let fields = [
            ("WARC-Type", "warcinfo".to_owned()),
            ("WARC-Record-ID", record_id(&blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()[..32])),
            ("WARC-Date", date(now)),
            ("Content-Type", "application/warc-fields".to_owned()),
        ];
        packed(&fields, about.as_bytes()).and_then(|packed| writer.append(&packed)).with_context(cannot)?;
        Ok(writer)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FILE_BYTES_MAX
    }

    /// Appends a record, and hands the file back.
    pub(super) fn write(mut self, record: &Record) -> io::Result<Self> {
        self.append(&record.packed()?)?;
        Ok(self)
    }

    /// One write a record, so that a file that is cut off is whole but for its last one.
    fn append(&mut self, packed: &[u8]) -> io::Result<()> {
        self.file.write_all(packed)?;
        self.bytes += packed.len() as u64;
        Ok(())
    }
}

impl Record {
    /// The record as it stands in a file, compressed by itself.
    fn packed(&self) -> io::Result<Vec<u8>> {
        let slot = self.slot.map(|slot| ("Tapline-Slot", date(slot)));
        let mut fields = vec![
            ("WARC-Record-ID", record_id(&self.id)),
            ("WARC-Date", date(self.date)),
            ("Tapline-Asked", self.asked.clone()),
        ];
        fields.extend(slot);
        let block = match &self.what {
            What::Answer { url, status, headers, body } => {
                fields.insert(0, ("WARC-Type", "response".to_owned()));
                fields.push(("WARC-Target-URI", url.clone()));
                fields.push(("Content-Type", "application/http;msgtype=response".to_owned()));
                http_block(*status, headers, body)
            }
            What::Failure(kind, words) => {
                fields.insert(0, ("WARC-Type", "metadata".to_owned()));
                fields.push(("Content-Type", "text/plain".to_owned()));
                fields.push(("Tapline-Failure", kind.clone()));
                words.clone().into_bytes()
            }
        };
        packed(&fields, &block)
    }
}

fn packed(fields: &[(&str, String)], block: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"WARC/1.1\r\n")?;
    for (name, value) in fields {
        // A line break would begin another field.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        write!(packed, "{name}: {value}\r\n")?;
    }
    write!(packed, "Content-Length: {}\r\n\r\n", block.len())?;
    packed.write_all(block)?;
    packed.write_all(b"\r\n\r\n")?;
    packed.finish()
}

fn date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn record_id(hex: &str) -> String {
    format!("<urn:uuid:{}-{}-{}-{}-{}>", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

fn http_block(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut block = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        // How the body was cut up on its way is gone.
        if name != TRANSFER_ENCODING && name != CONTENT_LENGTH {
            block.extend_from_slice(name.as_str().as_bytes());
            block.extend_from_slice(b": ");
            block.extend_from_slice(value.as_bytes());
            block.extend_from_slice(b"\r\n");
        }
    }
    block.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    block.extend_from_slice(body);
    block
}

/// A file that is read.
pub(super) struct Reader<R>(R);

pub(super) type FileReader = Reader<BufReader<MultiGzDecoder<BufReader<File>>>>;

impl FileReader {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Reader(BufReader::new(MultiGzDecoder::new(BufReader::new(file)))))
    }
}

impl<R: BufRead> Reader<R> {
    /// The next record of ours; `None` at the end. Records of other kinds are passed over.
    ///
    /// # Errors
    /// When the file is no WARC file, or is cut off.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            let Some(fields) = self.fields()? else { return Ok(None) };
            let field = |name: &str| fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            let length = field("Content-Length").and_then(|length| length.parse::<usize>().ok());
            let length =
                length.filter(|length| *length <= BLOCK_BYTES_MAX).context("a record has no length that can be")?;
            let mut block = Vec::new();
            let read = self.0.by_ref().take(length as u64).read_to_end(&mut block)?;
            let mut end = [0; 4];
            if read < length || self.0.read_exact(&mut end).is_err() || end != *b"\r\n\r\n" {
                return Err(anyhow!("the file is cut off within a record"));
            }
            if let Some(record) = Record::of(&field, block)? {
                return Ok(Some(record));
            }
        }
    }

    /// The fields of a record.
    fn fields(&mut self) -> anyhow::Result<Option<Vec<(String, String)>>> {
        let mut head = self.0.by_ref().take(HEADER_BYTES_MAX);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        anyhow::ensure!(line.starts_with("WARC/1."), "this is no WARC file, or one of another version");
        let mut fields = Vec::new();
        loop {
            line.clear();
            anyhow::ensure!(head.read_line(&mut line)? > 0, "a record's fields are cut off, or too long");
            let text = line.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Ok(Some(fields));
            }
            let (name, value) = text.split_once(':').context("a record has a field without a colon")?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

impl Record {
    /// A record that was written above.
    fn of<'f>(field: &impl Fn(&str) -> Option<&'f String>, block: Vec<u8>) -> anyhow::Result<Option<Self>> {
        let moment = |name| field(name).map(|text| text.parse::<DateTime<Utc>>()).transpose();
        let (Some(kind), Some(asked)) = (field("WARC-Type"), field("Tapline-Asked")) else { return Ok(None) };
        let what = match (kind.as_str(), field("Tapline-Failure")) {
            ("response", _) => {
                let url = field("WARC-Target-URI").cloned().unwrap_or_default();
                let (status, headers, body) = read_http(block).context("a record has no answer of HTTP in it")?;
                What::Answer { url, status, headers, body }
            }
            ("metadata", Some(kind)) => What::Failure(kind.clone(), String::from_utf8_lossy(&block).into_owned()),
            _ => return Ok(None),
        };
        let date = moment("WARC-Date")?.context("a record has no date")?;
        let id = field("WARC-Record-ID").and_then(|id| id.trim_matches(['<', '>']).strip_prefix("urn:uuid:"));
        let id = id.map_or_else(String::new, |id| id.chars().filter(char::is_ascii_hexdigit).collect());
        Ok(Some(Self { date, id, slot: moment("Tapline-Slot")?, asked: asked.clone(), what }))
    }
}

fn read_http(mut block: Vec<u8>) -> Option<(StatusCode, HeaderMap, Vec<u8>)> {
    let end = memchr::memmem::find(&block, b"\r\n\r\n")?;
    let body = block.split_off(end + 4);
    let mut lines = block[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next()?.split(|byte| *byte == b' ').nth(1)?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
    }
    Some((StatusCode::from_bytes(status).ok()?, headers, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::checks::read;
    use super::*;

    fn record(what: What) -> Record {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        Record {
            date: at("2026-11-23T09:00:00.123456Z"),
            id: "0123456789abcdef0123456789abcdef".into(),
            slot: Some(at("2026-11-23T09:00:00Z")),
            asked: "GET http://a.example/".into(),
            what,
        }
    }

    fn written(records: &[Record]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), "a", records[0].date).unwrap();
        for record in records {
            writer = writer.write(record).unwrap();
        }
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        (folder, file)
    }

    fn all(file: &Path) -> (Vec<Record>, Option<String>) {
        let mut reader = FileReader::open(file).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(format!("{error:#}"))),
            }
        }
    }

    fn answer(body: &[u8]) -> What {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.append("x", HeaderValue::from_bytes(b"\xe9").unwrap());
        let url = "http://a.example/".to_owned();
        What::Answer { url, status: StatusCode::NOT_FOUND, headers, body: body.to_vec() }
    }

    #[test]
    fn what_was_written_is_read() {
        let records = [
            record(answer(b"x\r\n\r\nWARC/1.1\r\n\0\xff")),
            record(What::Failure("resting 1500".into(), "two\nlines".into())),
            record(answer(b"")),
        ];
        let (_folder, file) = written(&records);
        let (read, error) = all(&file);
        assert_eq!((read.len(), error), (3, None));
        for (one, other) in read.iter().zip(&records) {
            let (mut one, other) = (format!("{one:?}"), format!("{other:?}"));
            // The length of what is there is written anew.
            one = one.replace(", \"content-length\": \"17\"", "").replace(", \"content-length\": \"0\"", "");
            assert_eq!(one, other);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_gives_what_is_whole() {
        let records = [record(answer(b"first")), record(answer(&b"second".repeat(100)))];
        let (_folder, file) = written(&records);
        let whole = std::fs::read(&file).unwrap();
        let counts = (0..whole.len()).map(|length| {
            std::fs::write(&file, &whole[..length]).unwrap();
            all(&file).0.len()
        });
        let counts: Vec<usize> = counts.collect();
        assert!(counts.is_sorted() && counts[0] == 0 && counts.contains(&1), "{counts:?}");
        // Behind its text a record has the end of its last block and a checksum.
        assert!(counts[..whole.len() - 16].iter().all(|count| *count <= 1), "{counts:?}");
    }

    proptest! {
        #[test]
        fn what_foreign_bytes_say_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..300), lines in "(WARC/1.1|Content-Length: [0-9]{1,20}|WARC-Type: response|Tapline-Asked: x|\r\n|HTTP/1.1 200|a:b){0,20}") {
            read(&bytes);
            read(lines.as_bytes());
        }
    }
}
