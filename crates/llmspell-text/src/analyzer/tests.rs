//! What the analyzer makes of texts of many languages, and of any characters at all.

use proptest::prelude::*;

use super::*;

fn analyzer() -> Analyzer {
    Analyzer::new(AnalyzerConfig::default()).unwrap()
}

fn terms(analyzer: &Analyzer, text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    analyzer.each_token(text, |token| terms.push(token.term.to_string()));
    terms
}

/// Each term with its position and the text that it stands for.
fn tokens(text: &str) -> Vec<(String, u32, &str)> {
    let mut tokens = Vec::new();
    analyzer().each_token(text, |token| {
        tokens.push((token.term.to_string(), token.position, &text[token.bytes]));
    });
    tokens
}

#[test]
fn identifiers_are_found_by_parts_and_as_a_whole() {
    let of = |text| terms(&analyzer(), text);
    assert_eq!(of("HNSWConfig"), ["hnswconfig", "hnsw", "config"]);
    assert_eq!(of("hnsw_config"), of("HNSWConfig"));
    assert_eq!(of("foo_bar::baz"), ["foobar", "foo", "bar", "baz"]);
    assert_eq!(of("error[E0308]:"), ["error", "e0308", "e", "0308"]);
    assert_eq!(
        of("/usr/lib64/libc.so.6"),
        ["usr", "lib64", "lib", "64", "libcso", "libc", "so", "6"]
    );
    assert_eq!(of("ada@example.com"), ["ada", "examplecom", "example", "com"]);
    assert_eq!(
        of("3.14 1,000 2024-01-05"),
        ["3.14", "3", "14", "1,000", "1", "000", "2024", "01", "05"]
    );
    assert_eq!(of("v1.2.3"), of("V1.2.3"));
    assert_eq!(of("don't"), ["dont", "don", "t"]);
    let whole = Analyzer::new(AnalyzerConfig::default().with_split_identifiers(false)).unwrap();
    assert_eq!(terms(&whole, "HNSWConfig foo_bar ok"), ["hnswconfig", "foobar", "ok"]);
}

#[test]
fn tokens_know_where_they_stand() {
    assert_eq!(
        tokens("Ａ fooBar ﬁn, naïve"),
        [
            ("a".to_string(), 0, "Ａ"),
            ("foobar".to_string(), 1, "fooBar"),
            ("foo".to_string(), 1, "foo"),
            ("bar".to_string(), 2, "Bar"),
            ("fin".to_string(), 3, "ﬁn"),
            ("naïve".to_string(), 4, "naïve"),
        ]
    );
    assert_eq!(
        tokens("ｶﾞﾗｽ と"),
        [
            ("ガ".to_string(), 0, "ｶﾞ"),
            ("ガラ".to_string(), 0, "ｶﾞﾗ"),
            ("ラ".to_string(), 1, "ﾗ"),
            ("ラス".to_string(), 1, "ﾗｽ"),
            ("ス".to_string(), 2, "ｽ"),
            ("と".to_string(), 3, "と"),
        ]
    );
}

/// Sentences of each language, and words that a reader of it would search for.
#[test]
fn words_of_each_language_are_found() {
    let of_pairs = |text: &str| {
        let mut found = Vec::new();
        analyzer().each_token(text, |token| found.push((token.kind, token.term.to_string())));
        let has_pairs = found.iter().any(|(kind, _)| *kind == TokenKind::Pair);
        // As a query asks: no single characters where there are pairs.
        found.retain(|(kind, _)| !(has_pairs && *kind == TokenKind::Character));
        found.into_iter().map(|(_, term)| term).collect::<Vec<_>>()
    };
    for (text, words) in [
        (
            "我昨天在北京大学图书馆借了两本书。",
            &["北京", "大学", "图书馆", "书", "两本书"][..],
        ),
        (
            "東京タワーの近くでｺｰﾋｰを飲みました。",
            &["東京", "タワー", "コーヒー", "飲み", "近く"],
        ),
        ("서울에서 친구를 만났습니다.", &["서울", "친구", "만났습니다"]),
        ("ฉันดื่มน้ำทุกวันที่โรงเรียน", &["น้ำ", "โรงเรียน", "ดื่ม", "ทุกวัน"]),
        ("ຂ້ອຍຮຽນພາສາລາວ", &["ພາສາ", "ລາວ"]),
        ("ខ្ញុំរៀនភាសាខ្មែរ", &["ភាសា", "ខ្មែរ"]),
        ("ကျွန်တော် မြန်မာစာ သင်တယ်", &["မြန်မာ", "သင်"]),
        ("Die Straße nach Köln ist gesperrt.", &["STRASSE", "köln", "gesperrt"]),
        ("ذهبتُ إلى المَكتبة لقراءة كتاب", &["المكتبة", "كتاب", "ذهبت"]),
        ("שָׁלוֹם לכולם", &["שלום", "לכולם"]),
        ("Я купил ЁЛКУ вчера", &["ёлку", "купил"]),
        ("Ο ΣΊΣΥΦΟΣ ανέβαινε", &["σίσυφος", "ανέβαινε"]),
        ("मैं हिन्दी पढ़ता हूँ", &["हिन्दी", "पढ़ता"]),
        ("நான் தமிழ் படிக்கிறேன்", &["தமிழ்", "படிக்கிறேன்"]),
        ("L'hôtel n’est pas loin", &["hôtel", "loin"]),
        (
            "Diyarbakır'da İSTANBUL'u özledim",
            &["istanbul", "diyarbakır", "özledim"],
        ),
        (
            "let index = HNSWConfig::default().with_m(16);",
            &["hnsw config", "HNSWConfig", "with_m", "default", "16"],
        ),
        (
            "error[E0308]: mismatched types in src/main.rs:12",
            &["E0308", "main.rs", "mismatched"],
        ),
    ] {
        let found = terms(&analyzer(), text);
        for word in words {
            let asked = of_pairs(word);
            assert!(!asked.is_empty());
            for term in asked {
                assert!(
                    found.contains(&term),
                    "{word} ({term}) is not found in {text}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn stems_and_stop_words_are_taken_on_request() {
    let plain = terms(&analyzer(), "The houses of the Running men");
    assert_eq!(plain, ["the", "houses", "of", "the", "running", "men"]);
    let stopped = AnalyzerConfig::default().with_stop_words(Language::English);
    let mut positions = Vec::new();
    Analyzer::new(stopped)
        .unwrap()
        .each_token("The houses of the men", |token| {
            positions.push((token.term.to_string(), token.position));
        });
    assert_eq!(positions, [("houses".to_string(), 1), ("men".to_string(), 4)]);
    let too_short = Analyzer::new(AnalyzerConfig::default().with_term_bytes_max(1)).unwrap_err();
    assert_eq!(too_short, ConfigError::TermBytes { got: 1 });
}

#[cfg(feature = "stemmers")]
#[test]
fn stems_find_other_forms_of_a_word() {
    for (language, a, b) in [
        (Language::English, "houses", "house"),
        (Language::German, "Häuser", "Hauses"),
        (Language::Arabic, "المكتبة", "مكتبة"),
        (Language::Russian, "книгами", "книга"),
    ] {
        let stemmed = Analyzer::new(AnalyzerConfig::default().with_stemmer(language)).unwrap();
        assert_eq!(terms(&stemmed, a), terms(&stemmed, b), "{language}");
    }
}

#[test]
fn stop_words_are_folded_and_in_order() {
    for language in Language::ALL {
        assert!(language.stop_words().is_sorted(), "{language}");
        for word in language.stop_words() {
            assert_eq!(terms(&analyzer(), word), [*word], "{language}");
        }
    }
}

#[test]
fn terms_are_cut_at_a_character() {
    let config = AnalyzerConfig::default().with_term_bytes_max(16);
    let short = Analyzer::new(config).unwrap();
    assert_eq!(terms(&short, &"x".repeat(100_000)), ["x".repeat(16)]);
    assert_eq!(terms(&short, &"ы".repeat(9)), ["ы".repeat(8)]);
    // A word of random letters is taken whole, and so are its first bytes.
    assert_eq!(terms(&short, &"aB".repeat(1_000)), ["ab".repeat(8)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_text_has_terms_that_are_short_and_in_order(
        text in "\\PC{0,40}|[\\x00-\\x{2ff}]{0,40}|[a-cA-C0-9_.'ßéｶﾞ가\u{1100}\u{1161}東の京ก็น้ำ_ \u{301}\u{200d}👍٣㍿]{0,40}",
        stems in 0usize..18,
        splits in any::<bool>(),
        folds in any::<bool>(),
    ) {
        let config = AnalyzerConfig::default().with_split_identifiers(splits).with_folded_diacritics(folds);
        let config = if cfg!(feature = "stemmers") { config.with_stemmer(Language::ALL[stems]) } else { config };
        let analyzer = Analyzer::new(config.with_term_bytes_max(16)).unwrap();
        let (mut position, mut start) = (0, 0);
        analyzer.each_token(&text, |token| {
            assert!(!token.term.is_empty() && token.term.len() <= 16);
            assert!(token.position == position || token.position == position + 1, "{token:?} after {position}");
            assert!(text.get(token.bytes.clone()).is_some_and(|part| !part.is_empty()));
            assert!(token.bytes.start >= start);
            (position, start) = (token.position, token.bytes.start);
        });
    }

    /// A term typed again is found.
    #[test]
    fn terms_of_terms_are_the_same(text in "[a-zßéЖ東の\u{301}가-힣ก-ฮ]{1,10}") {
        for term in terms(&analyzer(), &text) {
            let again = terms(&analyzer(), &term);
            prop_assert!(again.contains(&term), "{} became {:?}", term, again);
        }
    }
}
