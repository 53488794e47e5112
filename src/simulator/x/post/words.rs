//! What the simulated posts are made of.

/// A language as X tags it, with sentences and hashtags in it.
pub(super) struct Language {
    pub(super) tag: &'static str,
    pub(super) sentences: &'static [&'static str],
    pub(super) hashtags: &'static [&'static str],
}

/// English first: it is drawn more often than the others. Markup is escaped as X does, once.
pub(super) const LANGUAGES: &[Language] = &[
    Language {
        tag: "en",
        sentences: &[
            "The market opened higher this morning.",
            "My cat just walked over the keyboard again",
            "Breaking: the bridge is closed in both directions until noon.",
            "Coffee first, then the rest &amp; the questions",
            "If x &lt; y &amp;&amp; y &lt; z then x &lt; z, right?",
            "\"Never again\", she said, and bought another ticket.",
            "Line one\nline two\n\n\tand a tab",
            "A path like C:\\temp\\new is not what you think it is",
            "Heavy rain expected along the coast tonight, take care out there.",
            "What a goal!!! Unbelievable scenes",
            "We\u{2019}re hiring \u{2014} engineers, writers and one very patient cat person.",
            "Quarterly results beat estimates; shares up 4.20% after hours",
            "The train is late. Again. 47 minutes and counting.",
            "I like coca-cola more than I should.",
        ],
        hashtags: &["news", "Breaking", "CatsOfX", "markets", "Monday", "AI2026", "climate_change"],
    },
    Language {
        tag: "es",
        sentences: &[
            "¡Qué golazo! No me lo puedo creer.",
            "Mañana habrá huelga de trenes en todo el país.",
            "El café está más rico que nunca",
            "¿Alguien sabe a qué hora empieza?",
        ],
        hashtags: &["Noticias", "España", "FútbolTotal"],
    },
    Language {
        tag: "ja",
        sentences: &[
            "今日は天気がいいですね。",
            "電車が遅れています、お急ぎの方はご注意ください",
            "猫がキーボードの上で寝てしまった",
            "新しいカフェに行ってきました！",
        ],
        hashtags: &["猫", "ニュース", "天気"],
    },
    Language {
        tag: "ar",
        sentences: &["صباح الخير يا أصدقاء", "عاجل: إغلاق الطريق الرئيسي حتى المساء", "القهوة أولاً ثم العمل"],
        hashtags: &["أخبار", "عاجل"],
    },
    Language {
        tag: "hi",
        sentences: &["आज बाज़ार में तेज़ी रही।", "बारिश की वजह से ट्रेन देर से चल रही है", "सुप्रभात दोस्तों!"],
        hashtags: &["समाचार", "भारत"],
    },
    Language {
        tag: "de",
        sentences: &[
            "Größe ist nicht alles, sagt der Zug und kommt zu spät.",
            "Heute früh: Nebel über der Elbe",
            "Übrigens: der Kaffee ist schon wieder alle.",
        ],
        hashtags: &["Nachrichten", "Straßenbahn"],
    },
    Language {
        tag: "pt",
        sentences: &["Bom dia! Já tomou café?", "A estação está fechada até amanhã de manhã.", "Que coração, que jogo"],
        hashtags: &["Notícias", "Futebol"],
    },
    Language {
        tag: "ko",
        sentences: &["오늘 날씨가 정말 좋네요.", "고양이가 또 키보드 위에서 자요", "속보: 열차가 지연되고 있습니다"],
        hashtags: &["뉴스", "고양이"],
    },
    Language {
        tag: "tr",
        sentences: &["Günaydın İstanbul, ışıl ışıl bir sabah!", "Bugün hava çok güzel"],
        hashtags: &["gündem", "haber"],
    },
    Language {
        tag: "qme", sentences: &["👀", "🔥🔥🔥", "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽"], hashtags: &["mood"]
    },
];

/// Beyond ASCII and beyond the basic plane, joined and coloured ones among them.
pub(super) const EMOJI: &[&str] = &["😀", "🚀", "❤️", "👍🏽", "👩‍💻", "🇮🇳", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "✨", "𝓷𝓲𝓬𝓮", "e\u{301}", "\u{2028}"];

/// Symbols of companies and coins.
pub(super) const CASHTAGS: &[&str] = &["AAPL", "TSLA", "BTC", "NVDA", "GOOG", "F"];

/// Where links lead.
pub(super) const LINKS: &[&str] = &[
    "https://example.com/articles/",
    "https://www.example.org/news/world?id=",
    "https://blog.example.net/2026/cats-",
    "http://example.com/a_b/~c/",
    "https://video.example.com/watch?v=",
];

/// First and second part of a name.
pub(super) const NAMES: (&[&str], &[&str]) = (
    &["quiet", "happy", "north", "old", "data", "Real", "the", "blue", "night", "just", "Dr", "urban"],
    &["fox", "cat", "Reader", "trader", "Desk", "maker", "river", "pilot", "News", "garden", "coder"],
);

/// What people write beside their names.
pub(super) const LOCATIONS: &[&str] = &["London", "東京", "São Paulo", "Earth, mostly", "मुंबई", "she/her · 📍NYC"];

/// Identity, name, full name, country, its code, kind, west, south, east, north.
pub(super) type PlaceLine =
    (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, [f64; 4]);

/// Places, with roughly the boxes that they have.
pub(super) const PLACES: &[PlaceLine] = &[
    (
        "01a9a39529b27f36",
        "Manhattan",
        "Manhattan, NY",
        "United States",
        "US",
        "city",
        [-74.026, 40.683, -73.910, 40.877],
    ),
    ("457b4814b4240d87", "London", "London, England", "United Kingdom", "GB", "city", [-0.510, 51.286, 0.334, 51.692]),
    ("06ef846bfc783874", "日本", "日本", "日本", "JP", "country", [122.938, 20.425, 153.986, 45.551]),
    (
        "1b8680cd52a711cb",
        "Bengaluru",
        "Bengaluru South, India",
        "India",
        "IN",
        "city",
        [77.373, 12.661, 77.881, 13.231],
    ),
    ("5722ff20ba67083b", "Brasília", "Brasília, Brasil", "Brasil", "BR", "city", [-48.285, -16.052, -47.308, -15.499]),
];

/// What a poll lets one choose between.
pub(super) const POLLS: &[&[&str]] =
    &[&["Yes", "No"], &["Tea", "Coffee", "Just water"], &["A", "B", "C", "See the results \"only\""]];

/// Where posts are withheld, now and then.
pub(super) const COUNTRIES: &[&str] = &["DE", "FR", "IN", "TR", "XX"];

/// What people post with.
pub(super) const SOURCES: &[(&str, &str)] = &[
    ("Twitter for iPhone", "http://twitter.com/download/iphone"),
    ("Twitter for Android", "http://twitter.com/download/android"),
    ("Twitter Web App", "https://mobile.twitter.com"),
];
