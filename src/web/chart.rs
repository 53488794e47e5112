//! Values over time, as the shapes of a picture.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

/// The size of the picture, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 110.0;

/// Room above and below the line.
const MARGIN: f64 = 6.0;

/// A chart has about so many points, whatever it is made of: the least and the greatest of each part are kept.
const PARTS: usize = 150;

/// A picture of rates has so many bars.
const RATE_PARTS: f64 = 60.0;

/// A bar of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) height: f64,
}

/// A picture of values over time.
#[derive(Debug, Default)]
pub(super) struct Chart {
    pub(super) title: String,
    /// The line, as SVG has it.
    pub(super) path: String,
    pub(super) bars: Vec<Bar>,
    pub(super) bar_width: f64,
    /// Seconds since 1970 and values, for the pointer.
    pub(super) points: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) low: String,
    pub(super) high: String,
    /// The last value, as upstream wrote it.
    pub(super) last: String,
    /// All of it in words.
    pub(super) words: String,
}

/// Values in the order of their times, in seconds since 1970.
pub(super) fn line(title: &str, values: &[(f64, f64)], last: &str) -> Chart {
    let values = thinned(values);
    let (Some(first), Some(end)) = (values.first(), values.last()) else { return Chart::default() };
    let span = (end.0 - first.0).max(1.0);
    let low = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let high = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let range = if high > low { high - low } else { 1.0 };
    let (mut path, mut points) = (String::new(), String::new());
    for (index, (at, value)) in values.iter().enumerate() {
        let x = (at - first.0) / span * WIDTH;
        let y = if high > low { (high - value) / range } else { 0.5 } * (HEIGHT - 2.0 * MARGIN) + MARGIN;
        let stroke = if index == 0 { 'M' } else { 'L' };
        write!(path, "{stroke}{x:.1} {y:.1}").expect("invariant: a string takes all that is written");
        let gap = if index == 0 { "" } else { " " };
        write!(points, "{gap}{at:.0},{value}").expect("invariant: a string takes all that is written");
    }
    let [from, to] = axis(first.0, end.0);
    let words = format!("{title}: {last}, between {low} and {high} from {from} to {to}");
    Chart {
        title: title.to_owned(),
        path,
        points,
        from,
        to,
        low: low.to_string(),
        high: high.to_string(),
        last: last.to_owned(),
        words,
        ..Chart::default()
    }
}

/// How many records came in each sixtieth of the time from `from` to `to`; all in seconds since 1970.
pub(super) fn rate(times: &[f64], from: f64, to: f64) -> Chart {
    let step = (to - from) / RATE_PARTS;
    let mut counts = [0_u64; 60];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the parts, or cut to them")]
    for at in times.iter().filter(|at| (from..to).contains(*at)) {
        counts[(((at - from) / step) as usize).min(counts.len() - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let sum: u64 = counts.iter().sum();
    let width = WIDTH / RATE_PARTS;
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(part, count)| {
        let tall = *count as f64 / most as f64 * HEIGHT;
        Bar { x: rounded(part as f64 * width), y: rounded(HEIGHT - tall), height: rounded(tall.max(0.5)) }
    });
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let points: Vec<String> =
        counts.iter().enumerate().map(|(part, count)| format!("{:.0},{count}", from + part as f64 * step)).collect();
    let [begins, ends] = axis(from, to);
    let each = crate::report::lengths::words(whole_micros(step));
    Chart {
        title: format!("records each {each}"),
        bars: bars.collect(),
        bar_width: rounded(0.9 * width),
        points: points.join(" "),
        from: begins,
        to: ends,
        low: "0".to_owned(),
        high: most.to_string(),
        last: sum.to_string(),
        words: format!("records: {sum} in all, at most {most} in {each}"),
        ..Chart::default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "lengths that a page shows")]
fn whole_micros(seconds: f64) -> i64 {
    seconds.round() as i64 * 1_000_000
}

/// Bars for the last minutes, one unit wide, the newest at the right.
pub(super) fn bars(minutes: &[(i64, u64)], now: DateTime<Utc>, width: f64, height: f64) -> Vec<Bar> {
    let this = now.timestamp().div_euclid(60);
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let [most, width_minutes] = [minutes.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1) as f64, width];
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let bar = |(minute, count): &(i64, u64)| {
        let x = width_minutes - 1.0 - (this - minute) as f64;
        let tall = *count as f64 / most * height;
        (x >= 0.0 && *count > 0).then(|| Bar { x, y: rounded(height - tall), height: rounded(tall.max(0.5)) })
    };
    minutes.iter().filter_map(bar).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// As many values as a picture needs, with the least and the greatest of each part.
fn thinned(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if values.len() <= 2 * PARTS {
        return values.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * PARTS + 2);
    kept.extend(values.first());
    for part in values.chunks(values.len().div_ceil(PARTS)) {
        let by_value = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (least, most) = (part.iter().min_by(by_value), part.iter().max_by(by_value));
        let mut both: Vec<(f64, f64)> = least.into_iter().chain(most).copied().collect();
        both.sort_by(|one, other| one.0.total_cmp(&other.0));
        kept.extend(both);
    }
    kept.extend(values.last());
    kept.dedup();
    kept
}

/// The ends of the time that is shown: with the date only where one day is not enough.
fn axis(from: f64, to: f64) -> [String; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds of a time that a record has")]
    let [from, to] = [from, to].map(|at| DateTime::from_timestamp(at as i64, 0).unwrap_or_default());
    let is_one_day = from.date_naive() == to.date_naive();
    [from, to].map(|at| at.format(if is_one_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let chart = line("price", &[(100.0, 1.0), (150.0, 3.0), (200.0, 2.0)], "2.0");
        assert_eq!(chart.path, "M0.0 104.0L300.0 6.0L600.0 55.0");
        assert_eq!(chart.points, "100,1 150,3 200,2");
        assert_eq!((chart.low.as_str(), chart.high.as_str()), ("1", "3"));
        assert_eq!(chart.words, "price: 2.0, between 1 and 3 from 00:01:40 to 00:03:20");
        assert_eq!(line("flat", &[(1.0, 5.0), (2.0, 5.0)], "5").path, "M0.0 55.0L600.0 55.0");
        assert!(line("none", &[], "").path.is_empty());
    }

    #[test]
    fn many_values_become_few_and_no_peak_is_lost() {
        let values: Vec<(f64, f64)> =
            (0..100_000).map(|n| (f64::from(n), if n == 54_321 { 1e6 } else { f64::from(n % 7) })).collect();
        let kept = thinned(&values);
        assert!(kept.len() <= 2 * PARTS + 2, "{}", kept.len());
        assert!(kept.contains(&(54_321.0, 1e6)));
        assert_eq!((kept.first(), kept.last()), (values.first(), values.last()));
        assert!(kept.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn bars_stand_at_their_minutes() {
        let now = DateTime::from_timestamp(60 * 1000 + 30, 0).unwrap();
        let found = bars(&[(900, 7), (999, 5), (1000, 10)], now, 60.0, 20.0);
        assert_eq!(found, [Bar { x: 58.0, y: 10.0, height: 10.0 }, Bar { x: 59.0, y: 0.0, height: 20.0 }]);
    }
}
