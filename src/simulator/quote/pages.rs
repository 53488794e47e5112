//! The pages of the exchange.

use std::fmt::Write as _;
use std::time::Duration;

use crate::simulator::faults::{Coding, Fault};
use crate::simulator::time::now;

/// What the index begins at, in hundredths.
const INDEX: i64 = 5_946_568;

/// Symbol, name, price in hundredths.
const STOCKS: [(&str, &str, i64); 30] = [
    ("ADANIPORTS", "Adani Ports and Special Economic Zone Ltd", 123_455),
    ("ASIANPAINT", "Asian Paints Ltd", 287_640),
    ("AXISBANK", "Axis Bank Ltd", 108_230),
    ("BAJAJFINSV", "Bajaj Finserv Ltd", 161_075),
    ("BAJFINANCE", "Bajaj Finance Ltd", 702_310),
    ("BHARTIARTL", "Bharti Airtel Ltd", 155_420),
    ("HCLTECH", "HCL Technologies Ltd", 184_960),
    ("HDFCBANK", "HDFC Bank Ltd", 174_515),
    ("HINDUNILVR", "Hindustan Unilever Ltd", 244_870),
    ("ICICIBANK", "ICICI Bank Ltd", 127_790),
    ("INDUSINDBK", "IndusInd Bank Ltd", 99_645),
    ("INFY", "Infosys Ltd", 190_225),
    ("ITC", "ITC Ltd", 47_490),
    ("JSWSTEEL", "JSW Steel Ltd", 97_080),
    ("KOTAKBANK", "Kotak Mahindra Bank Ltd", 176_325),
    ("LT", "Larsen & Toubro Ltd", 360_410),
    ("M&M", "Mahindra & Mahindra Ltd", 301_255),
    ("MARUTI", "Maruti Suzuki India Ltd", 1_109_560),
    ("MRF", "MRF Ltd", 12_345_678),
    ("NESTLEIND", "Nestle India Ltd", 224_135),
    ("NTPC", "NTPC Ltd", 36_595),
    ("POWERGRID", "Power Grid Corporation of India Ltd", 33_715),
    ("RELIANCE", "Reliance Industries Ltd", 245_670),
    ("SBIN", "State Bank of India", 84_060),
    ("SUNPHARMA", "Sun Pharmaceutical Industries Ltd", 180_390),
    ("TATAMOTORS", "Tata Motors Ltd", 79_150),
    ("TATASTEEL", "Tata Steel Ltd", 14_285),
    ("TCS", "Tata Consultancy Services Ltd", 424_480),
    ("TECHM", "Tech Mahindra Ltd", 174_830),
    ("TITAN", "Titan Company Ltd", 328_925),
];

/// The index at a tick, in hundredths: waves of several lengths and a little noise.
pub fn price_at(seed: u64, tick: u64) -> i64 {
    moved(seed, 0, INDEX, tick)
}

fn moved(seed: u64, series: u64, base: i64, tick: u64) -> i64 {
    let phase = |wave: u64| mix(seed ^ mix(series) ^ mix(wave)) % 10_000;
    let mut move_millionths: i64 = 0;
    for (wave, period, height) in [(1, 97, 400), (2, 1_009, 2_000), (3, 23_399, 9_000)] {
        // A triangle rather than a sine: whole numbers are the same on every machine.
        let at = (tick.wrapping_add(phase(wave))) % period;
        let rise = i64::try_from(at.min(period - at)).unwrap_or(0);
        move_millionths +=
            height * (4 * rise - i64::try_from(period).unwrap_or(1)) / i64::try_from(period).unwrap_or(1);
    }
    let noise = i64::try_from(mix(seed ^ mix(series) ^ tick) % 201).unwrap_or(0) - 100;
    base + base * (move_millionths + noise) / 1_000_000
}

/// A number that looks like any other (splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A hash of a page, for its validator (FNV-1a).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Hundredths as they are written in India: 1,23,456.78.
pub(super) fn indian(hundredths: i64) -> String {
    let whole = (hundredths.abs() / 100).to_string();
    let (rest, last) = whole.split_at(whole.len().saturating_sub(3));
    let mut groups: Vec<&str> =
        rest.as_bytes().rchunks(2).map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.reverse();
    groups.push(last);
    let sign = if hundredths < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", groups.join(","), hundredths.abs() % 100)
}

fn page(title: &str, body: &str) -> String {
    let furniture = "<li><a href=\"/market/segment\">Equity derivatives and more</a></li>".repeat(40);
    let script =
        "window.dataLayer=window.dataLayer||[];function track(event){dataLayer.push({event:event,at:0});}".repeat(20);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>.up{{color:#006400}}.down{{color:#b00}}</style>\n\
         <script>{script}</script>\n\
         <script type=\"application/ld+json\">{{\"@type\":\"WebPage\",\"name\":\"{title}\"}}</script></head>\n\
         <body><nav><ul>{furniture}</ul></nav>\n<main>{body}</main>\n<aside class=\"ad\">Trade with us &amp; save</aside>\n\
         <footer>Prices are simulated. &copy; Simulated Exchange</footer></body></html>\n"
    )
}

/// The page of the index.
pub(super) fn index(seed: u64, tick: u64, fault: Option<Fault>) -> String {
    let value = price_at(seed, tick);
    let change = value - price_at(seed, 0);
    let class = if fault == Some(Fault::Layout) { "value-v2" } else { "red14px" };
    let shown = if fault == Some(Fault::Garbled) { "--".to_owned() } else { indian(value) };
    let (shown, other) = if fault == Some(Fault::Moved) { (indian(change), shown) } else { (shown, indian(change)) };
    let direction = if change < 0 { "down" } else { "up" };
    let body = format!(
        "<h1>SIMEX 30</h1>\n<p>Index <span class=\"{class}\">{shown}</span> <span class=\"chg {direction}\">{other}</span>\n\
         <span class=\"status\">Open</span></p>\n<p>As of <span class=\"tick\">{tick}</span></p>"
    );
    page("SIMEX 30 - Simulated Exchange", &body)
}

/// The table of stocks.
pub(super) fn stocks(seed: u64, tick: u64, fault: Option<Fault>) -> String {
    let mut rows = String::new();
    let class = if fault == Some(Fault::Layout) { "price-v2" } else { "last" };
    for (series, (symbol, name, base)) in (1_u64..).zip(STOCKS) {
        let last = moved(seed, series, base, tick);
        let previous = moved(seed, series, base, 0);
        let shown = if fault == Some(Fault::Garbled) && series % 7 == 0 { "n.a.".to_owned() } else { indian(last) };
        let volume = i64::try_from(mix(seed ^ mix(series)) % 9_000_000).unwrap_or(0)
            + i64::try_from(tick % 100_000).unwrap_or(0) * 100;
        let (symbol, name) = (symbol.replace('&', "&amp;"), name.replace('&', "&amp;"));
        writeln!(
            rows,
            "<tr data-symbol=\"{symbol}\"><td class=\"symbol\"><a href=\"/stock/{series}\">{symbol}</a></td><td class=\"name\">{name}</td>\
             <td class=\"{class}\">{shown}</td><td class=\"prev\">{}</td><td class=\"change\">{}</td><td class=\"volume\">{}</td></tr>",
            indian(previous),
            indian(last - previous),
            indian(volume * 100).trim_end_matches(".00"),
        )
        .expect("invariant: writing to a string cannot fail");
    }
    let body = format!(
        "<h1>Stocks of the SIMEX 30</h1>\n<table id=\"stocks\"><thead><tr><th>Symbol<th>Company<th>Last<th>Previous<th>Change<th>Volume</tr></thead>\n\
         <tbody>\n{rows}</tbody></table>"
    );
    page("Stocks - Simulated Exchange", &body)
}

/// The page of one stock, by its place in the table; `None` where there is no such stock.
pub(super) fn stock(seed: u64, series: u64, tick: u64, fault: Option<Fault>) -> Option<String> {
    let (symbol, name, base) = STOCKS.get(usize::try_from(series.checked_sub(1)?).ok()?)?;
    let last = moved(seed, series, *base, tick);
    let change = last - moved(seed, series, *base, 0);
    let class = if fault == Some(Fault::Layout) { "price-v2" } else { "last" };
    let shown = if fault == Some(Fault::Garbled) { "n.a.".to_owned() } else { indian(last) };
    let (symbol, name) = (symbol.replace('&', "&amp;"), name.replace('&', "&amp;"));
    let body = format!(
        "<h1 class=\"name\">{name}</h1>\n<p><span class=\"symbol\">{symbol}</span> <span class=\"{class}\">{shown}</span> \
         <span class=\"change\">{}</span></p>",
        indian(change)
    );
    Some(page(&format!("{symbol} - Simulated Exchange"), &body))
}

/// A page in an encoding, with its content type: literal bytes, because what encodes is what is tested.
pub(super) fn in_charset(name: &str) -> Option<(&'static str, Vec<u8>)> {
    Some(match name {
        "windows-1252" => {
            ("text/html; charset=windows-1252", b"<span class=\"name\">Soci\xe9t\xe9 \x80 1</span>".to_vec())
        }
        "iso-8859-2" => ("text/html; charset=iso-8859-2", b"<span class=\"name\">\xa3\xf3d\xbc</span>".to_vec()),
        "shift_jis" => ("text/html; charset=shift_jis", b"<span class=\"name\">\x93\x8c\x8b\x9e</span>".to_vec()),
        "utf-16le" => {
            let text = "\u{feff}<span class=\"name\">ŁódŹ ₹</span>";
            ("text/html", text.encode_utf16().flat_map(u16::to_le_bytes).collect())
        }
        "meta" => ("text/html", "<meta charset=\"utf-8\"><span class=\"name\">東京 ₹</span>".into()),
        "none" => ("text/html", "<span class=\"name\">東京証券取引所の株価 — ₹ 1,234</span>".into()),
        _ => return None,
    })
}

/// The body in a coding.
pub(super) fn compress(coding: Coding, body: &[u8]) -> Vec<u8> {
    encode(coding, |out| out.write_all(body))
}

/// 64 MiB of white space, in a few kilobytes.
pub(super) fn bomb(coding: Coding) -> Vec<u8> {
    let block = vec![b' '; 1 << 20];
    encode(coding, |out| (0..64).try_for_each(|_| out.write_all(&block)))
}

fn encode(coding: Coding, write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Vec<u8> {
    let fast = flate2::Compression::fast();
    let encoded = match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
            write(&mut encoder).and_then(|()| encoder.finish())
        }
        Coding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
            write(&mut encoder).and_then(|()| encoder.finish())
        }
        Coding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 2, 20);
            write(&mut encoder).map(|()| encoder.into_inner())
        }
        Coding::Zstd => zstd::Encoder::new(Vec::new(), 1).and_then(|mut encoder| {
            write(&mut encoder)?;
            encoder.finish()
        }),
    };
    encoded.expect("invariant: writing to memory cannot fail")
}

/// An HTTP date some seconds from now.
pub(super) fn http_date(seconds: u64) -> String {
    (now() + Duration::from_secs(seconds)).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// What a body without end is made of.
pub(super) const FILLER: &str = "<p>and so on and so on and so on and so on and so on and so on and so on</p>\n";

/// One line of 10 MB.
pub(super) fn long_line() -> Vec<u8> {
    let mut page = b"<span class=\"red14px\">".to_vec();
    page.resize(10_000_000, b'9');
    page
}

/// 200,000 nested elements.
pub(super) fn nested() -> String {
    "<div>".repeat(200_000) + "<span class=\"red14px\">1</span>"
}

/// A value that would break a line, clear a terminal and end a C string.
pub(super) const HOSTILE: &str =
    "<span class=\"red14px\">1\n2\r\n3\u{1b}[2J\u{1b}]0;owned\u{7}\0\u{9b}31m\u{2028}{\"id\":\"x\"}</span>";

/// A block page of the usual kind.
pub(super) const BLOCK: &str = "<!doctype html><title>Just a moment...</title><h1>Checking your browser before accessing</h1>\
    <p>Enable JavaScript and cookies to continue</p><script>window._cf_chl_opt={}</script>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_as_in_india() {
        for (hundredths, expected) in [
            (12_345_678, "1,23,456.78"),
            (5_946_568, "59,465.68"),
            (-1_230, "-12.30"),
            (5, "0.05"),
            (99_999, "999.99"),
            (1_000_000_000, "1,00,00,000.00"),
        ] {
            assert_eq!(indian(hundredths), expected);
        }
    }

    #[test]
    fn a_stock_has_a_page_of_its_own_with_the_price_of_the_table() {
        let table = stocks(1, 42, None);
        for (series, (symbol, _, _)) in (1..).zip(STOCKS) {
            let page = stock(1, series, 42, None).unwrap();
            let price = page.split_once("\"last\">").unwrap().1.split_once('<').unwrap().0;
            let symbol = symbol.replace('&', "&amp;");
            assert!(page.contains(&format!("\"symbol\">{symbol}<")), "{symbol}");
            let row = table.split_once(&format!("data-symbol=\"{symbol}\"")).unwrap().1.split_once("</tr>").unwrap().0;
            assert!(row.contains(&format!(">{price}<")), "{symbol}: {price} in {row}");
        }
        assert!([0, 31, u64::MAX].iter().all(|series| stock(1, *series, 42, None).is_none()));
    }

    #[test]
    fn prices_move_a_little_and_are_the_same_again() {
        let prices: Vec<i64> = (0..10_000).map(|tick| price_at(1, tick)).collect();
        assert_eq!(prices, (0..10_000).map(|tick| price_at(1, tick)).collect::<Vec<_>>());
        assert_ne!(prices[..100], (0..100).map(|tick| price_at(2, tick)).collect::<Vec<_>>()[..]);
        assert!(prices.iter().all(|price| (price - INDEX).abs() < INDEX / 20));
        assert!(
            prices.windows(2).all(|pair| (pair[0] - pair[1]).abs() < INDEX / 500),
            "no tick jumps by more than 0.2 %"
        );
        let changed = prices.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changed > 9_900, "{changed}");
    }
}
