//! Currencies, by their code of ISO 4217 and by the signs that pages write.

/// The codes of ISO 4217 that are in use (its list one, without funds and bonds), and the metals that are traded.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ \
    GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL \
    LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN \
    PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD \
    TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XAG XAU XCD XCG XDR XOF XPD XPF XPT YER ZAR ZMW ZWG";

/// Signs that pages write, and what they may stand for: one code where there is no doubt.
///
/// After the symbols of CLDR, with what it writes in one language only left out. `C$` is Canada's or Nicaragua's, `Rs.`
/// is written from Karachi to Mauritius.
const SIGNS: &[(&str, &str)] = &[
    ("€", "EUR"),
    ("₹", "INR"),
    ("£", "GBP"),
    ("₩", "KRW"),
    ("₽", "RUB"),
    ("₺", "TRY"),
    ("₴", "UAH"),
    ("₪", "ILS"),
    ("₫", "VND"),
    ("฿", "THB"),
    ("₦", "NGN"),
    ("₱", "PHP"),
    ("₡", "CRC"),
    ("₲", "PYG"),
    ("₵", "GHS"),
    ("₸", "KZT"),
    ("₼", "AZN"),
    ("₾", "GEL"),
    ("₭", "LAK"),
    ("₮", "MNT"),
    ("৳", "BDT"),
    ("៛", "KHR"),
    ("֏", "AMD"),
    ("円", "JPY"),
    ("zł", "PLN"),
    ("Kč", "CZK"),
    ("Ft", "HUF"),
    ("RM", "MYR"),
    ("Rp", "IDR"),
    ("US$", "USD"),
    ("CA$", "CAD"),
    ("A$", "AUD"),
    ("AU$", "AUD"),
    ("NZ$", "NZD"),
    ("HK$", "HKD"),
    ("NT$", "TWD"),
    ("S$", "SGD"),
    ("MX$", "MXN"),
    ("R$", "BRL"),
    ("CN¥", "CNY"),
    ("JP¥", "JPY"),
    (
        "$",
        "USD CAD AUD NZD HKD SGD TWD MXN ARS CLP COP UYU BBD BMD BND BSD BZD DOP FJD GYD JMD KYD LRD NAD SBD SRD TTD XCD",
    ),
    ("C$", "CAD NIO"),
    ("¥", "JPY CNY"),
    ("￥", "JPY CNY"),
    ("元", "CNY TWD HKD"),
    ("kr", "SEK NOK DKK ISK"),
    ("Kr", "SEK NOK DKK ISK"),
    ("Rs", "INR PKR LKR NPR MUR SCR"),
    ("₨", "INR PKR LKR NPR MUR SCR"),
    ("lei", "RON MDL"),
    ("Fr", "CHF XOF XAF XPF"),
    ("R", "ZAR"),
    ("руб", "RUB BYN"),
];

/// The code, if it is one. Capitals matter: `GBp` and `ZAc` are hundredths.
pub(super) fn code(text: &str) -> Option<&'static str> {
    CODES.split_ascii_whitespace().find(|code| *code == text)
}

/// What a sign or code may stand for; empty when it is none. A stop after letters, as in `Rs.`, is part of it.
pub(super) fn meanings(text: &str) -> Vec<&'static str> {
    if let Some(code) = code(text) {
        return vec![code];
    }
    let sign = match text.strip_suffix('.') {
        Some(letters) if letters.ends_with(char::is_alphabetic) => letters,
        _ => text,
    };
    let found = SIGNS.iter().find(|(known, _)| *known == sign);
    found.map(|(_, codes)| codes.split(' ').collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_stands_for_codes() {
        for (sign, codes) in SIGNS {
            assert!(code(sign).is_none(), "{sign}");
            assert!(codes.split(' ').all(|meaning| code(meaning) == Some(meaning)), "{sign}: {codes}");
            assert_eq!(SIGNS.iter().filter(|(other, _)| other == sign).count(), 1, "{sign}");
        }
        assert!(CODES.split_ascii_whitespace().is_sorted());
    }

    #[test]
    fn hundredths_and_coins_of_nobody_are_no_currency() {
        for text in ["GBp", "GBX", "ZAc", "ILA", "p", "c", "¢", "₿", "BTC", "inr", "", "."] {
            assert!(meanings(text).is_empty(), "{text}");
        }
        assert_eq!((meanings("Rp."), meanings("zł"), meanings("kr.").len()), (vec!["IDR"], vec!["PLN"], 4));
    }
}
