//! What one page costs: 65 KB of table rows, three fields of each row, on one core.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tapline::adapters::scrape::{Plan, Scrape, extract};
use tapline::source::Settings as _;

/// A page of an exchange: one index, and rows of stocks until it is 65 KB long.
fn page() -> String {
    let mut html =
        String::from("<!doctype html><title>Market</title><span class=red14px>59,465.68</span><table><tbody>");
    let mut row = 0;
    while html.len() < 65 * 1024 {
        row += 1;
        write!(
            html,
            "<tr class=stock><td class=name><a href=\"/stock/{row}\">Stock {row}</a></td>\
             <td class=price>{row},23,456.78</td><td class=change>-{row}.5</td></tr>"
        )
        .expect("invariant: a string takes all that is written");
        row %= 99;
    }
    html + "</tbody></table>"
}

fn plan(settings: serde_json::Value) -> Plan {
    let settings = Scrape::read(settings).unwrap_or_else(|problems| panic!("{problems:?}"));
    Plan::compile(&settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn extraction(criterion: &mut Criterion) {
    let html = page();
    let fields = json!({
        "name": "td.name",
        "price": { "css": "td.price", "type": "number", "locale": "en-IN" },
        "change": { "css": "td.change", "type": "number" },
    });
    let first_of_page = plan(json!({ "url": "http://localhost/", "fields": fields }));
    let every_row = plan(json!({ "url": "http://localhost/", "records": "tr.stock", "fields": fields }));
    let mut group = criterion.benchmark_group("scrape");
    group.throughput(Throughput::Bytes(html.len() as u64));
    for (name, plan) in [("three fields of a page", first_of_page), ("three fields of each row", every_row)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let extraction = extract(&plan, black_box(&html), None).expect("invariant: a harmless page");
                assert!(extraction.rejects.is_empty() && !extraction.rows.is_empty());
                extraction
            });
        });
    }
    group.finish();
}

criterion_group!(benches, extraction);
criterion_main!(benches);
