//! The tree beside the one that html5ever builds, on pages of every kind.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::super::checks::trees::plain as check;

#[test]
fn pages_that_are_plain() {
    for html in [
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>A &amp; B</title></head>\n<body class='a b'><p>one<p>two<ul><li>1<li>2</ul></body></html>\n",
        "<p>no doctype<table><tr><td>1<td>2<tr><td>3</table>",
        "<!DOCTYPE  HTML ><table><caption>c</caption><colgroup><col><col></colgroup><thead><tr><th>h</thead><tbody><tr><td><b>x</b></td></tr></tbody></table>",
        "<!-- a --><!doctype html><!-- b --><html><!-- c --><head><!-- d --></head><!-- e --><body>x</body><!-- f --></html><!-- g -->\n",
        "<div><a href='?a=1&b=2&copy=3&amp;d'>AT&T &lt;&#65;&#x42;&notin; &noti</a> 1 < 2 <br/><img src=x.png/></div>",
        "<script>if (a < b && c) { x = '</div>' }</script><style>a > b {}</style><noscript><p>x</noscript><textarea>\n <b>&amp;</textarea>",
        "<pre>\n\nx</pre><dl><dt>a<dd>b<dt>c</dl><form><input type=hidden><button>x</button></form><hr>",
        "<select><optgroup label=x><option>1<option selected>2<optgroup><option>3</select><svg viewBox='0 0 1 1' xmlns='http://www.w3.org/2000/svg'><title>t</title><path d=m /><linearGradient id=a xlink:href=#b></linearGradient></svg>",
        "<DIV CLASS=X ID=Y>x</DIV><my-element a:b=c>y</my-element>",
        "<table><tr><td><table><tr><td>in</table>out</table><p>after",
        "<p>text</p>\n</body>\n</html>\n<script>late()</script>",
        "",
        "just text",
        "<html><head></head><script>x</script><body>",
    ] {
        assert!(check(html), "not plain: {html}");
    }
}

#[test]
fn what_a_browser_repairs_is_left_to_it() {
    for html in [
        "<b><p>x</b></p>",
        "<table>text<tr><td>x</table>",
        "<a>1<a>2</a>",
        "<div></span></div>",
        "<body a=1><body b=2>",
        "<p></div>",
        "</p>",
        "<b",
        "x\0y",
        "a\r\nb",
        "<!-- never closed",
        "<script>never closed",
        "<template><p>x</template>",
        "<math><mi>x</math>",
        "<svg><p>x</svg>",
        "<frameset><frame></frameset>",
        "<form><form></form>",
        "<ul><li><div>x<li>y</ul>",
        "<dl><dt><address>x<dd>y</dl>",
        "<li><dialog><li>x",
        "<p>&#128;</p>",
        "<p title='&#x9f;'>x</p>",
        "<p>&#0;</p>",
        "<p>&#xD800;</p>",
    ] {
        assert!(!check(html), "plain: {html}");
    }
}

/// Tags, texts and the like, of which pages are made: the more of the same kind, the more often a page is plain.
pub(in super::super) fn page() -> impl Strategy<Value = String> {
    let names = "html|head|body|div|p|span|a|b|i|ul|li|dl|dt|dd|table|caption|colgroup|col|thead|tbody|tfoot|tr|td|th|h1|h2|form|button|input|select|option|optgroup|br|img|hr|pre|textarea|title|script|style|noscript|svg|path|g|dialog|section|address|meta|link|iframe|template|frameset|p|div|li|td|tr|foreignObject|desc|font|object|ruby|rt|nobr|math|x-y";
    let names: Vec<&'static str> = names.split('|').collect();
    let attributes = prop_oneof![
        6 => Just(""),
        1 => Just(" a=1"),
        1 => Just(" class='x y' id=z"),
        1 => Just(" type=hidden"),
        1 => Just(" href=\"?a&lt=1&b;\" A=2 a=3"),
        1 => Just("/"),
        1 => Just(" viewbox=1 xmlns=2 xlink:href=3 xml:lang=4 xmlns:xlink=5 xlink:other=6"),
    ];
    let text = prop_oneof![
        Just("x"),
        Just(" "),
        Just("\n"),
        Just("a &amp; b"),
        Just("&copy;&copyx&#65;&#x;&"),
        Just("<"),
        Just("é"),
        Just(" y "),
        Just("<!-- c -->"),
        Just("<!---->"),
        Just("<!--->"),
        Just("<!doctype html>"),
        Just("&nbsp;"),
        Just("&notit;"),
        Just("&#128;"),
        Just("&#x9f"),
        Just("&#0;"),
        Just("\u{c}"),
        Just("<!--x"),
    ];
    let piece = prop_oneof![
        // An element that is closed after what is in it.
        4 => (proptest::sample::select(names.clone()), attributes.clone(), text.clone(), any::<bool>())
            .prop_map(|(name, attributes, text, is_closed)| {
                let end = if is_closed { format!("</{name}>") } else { String::new() };
                format!("<{name}{attributes}>{text}{end}")
            }),
        3 => (proptest::sample::select(names.clone()), attributes).prop_map(|(name, attributes)| format!("<{name}{attributes}>")),
        2 => proptest::sample::select(names).prop_map(|name| format!("</{name}>")),
        3 => text.prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A page whose elements are closed in the right order.
pub(in super::super) fn nested() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_owned()),
        Just(" \n".to_owned()),
        Just("<br>".to_owned()),
        Just("<img src='a&amp;b'/>".to_owned()),
        Just("<!--c-->".to_owned()),
        Just("&lt;".to_owned()),
        Just("<input>".to_owned())
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let many = proptest::collection::vec(inner, 0..5).prop_map(|parts| parts.concat());
        let name = proptest::sample::select(vec![
            "div", "p", "span", "a", "b", "ul", "li", "section", "h1", "form", "button", "td", "tr", "table", "tbody",
            "svg", "g", "title", "select", "option", "dd", "dt", "pre", "caption", "i", "font",
        ]);
        (name, many.clone(), many).prop_map(|(name, inside, after)| format!("<{name}>{inside}</{name}>{after}"))
    })
}

/// A few elements, of which some are closed: what ends what is met often.
fn unclosed() -> impl Strategy<Value = String> {
    let names = vec![
        "li", "ul", "div", "address", "dd", "dt", "dl", "p", "span", "section", "dialog", "button", "option", "td",
        "tr",
    ];
    let tag = (proptest::sample::select(names), any::<bool>());
    let tag = tag.prop_map(|(name, is_end)| format!("<{}{name}>x", if is_end { "/" } else { "" }));
    (0..4_usize, proptest::collection::vec(tag, 1..7))
        .prop_map(|(outer, tags)| ["", "<ul>", "<dl>", "<table><tr><td>"][outer].to_owned() + &tags.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn also_where_few_are_closed(html in unclosed()) {
        check(&html);
    }

    #[test]
    fn the_tree_is_the_one_of_all_the_rules(html in page()) {
        check(&html);
    }

    #[test]
    fn also_where_elements_are_closed(html in nested(), doctype in any::<bool>()) {
        check(&format!("{}{html}", if doctype { "<!doctype html>" } else { "" }));
    }
}

/// Otherwise the properties above would say little.
#[test]
fn many_of_these_pages_are_plain() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut share = |pages: proptest::strategy::BoxedStrategy<String>| {
        (0..1000).filter(|_| check(&pages.new_tree(&mut runner).unwrap().current())).count()
    };
    let (any, closed) = (share(page().boxed()), share(nested().boxed()));
    assert!(any > 100 && closed > 300, "of 1000 pages each, {any} and {closed}");
}

#[test]
fn pages_of_every_kind_and_their_mutations() {
    let pages = [
        include_str!("../../../../tests/fixtures/scrape/index.html"),
        include_str!("../../../../tests/fixtures/scrape/product.html"),
        include_str!("../../../../tests/fixtures/scrape/stocks.html"),
    ];
    for page in pages {
        assert!(check(page), "a page as people write it is plain");
        // Each byte is left out once, and each is cut off once.
        for at in (0..page.len()).filter(|at| page.is_char_boundary(*at) && page.is_char_boundary(at + 1)) {
            check(&format!("{}{}", &page[..at], &page[at + 1..]));
            check(&page[..at]);
        }
    }
}

/// Pages of the web, where there are some: `TAPLINE_PAGES=folder cargo test plain`.
#[test]
fn pages_of_a_folder() {
    fn walk(folder: &std::path::Path, counts: &mut (usize, usize)) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, counts);
            } else if path.extension().is_some_and(|ending| ending == "html")
                && let Ok(html) = std::fs::read_to_string(&path)
            {
                counts.1 += 1;
                counts.0 += usize::from(check(&html));
            }
        }
    }
    let Some(folder) = std::env::var_os("TAPLINE_PAGES") else { return };
    let mut counts = (0, 0);
    walk(std::path::Path::new(&folder), &mut counts);
    println!("{} of {} pages are plain, each with the right tree", counts.0, counts.1);
}
