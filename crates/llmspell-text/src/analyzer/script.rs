//! Which scripts are written without spaces between words.

/// Whether a character belongs to a script whose words cannot be told apart without a dictionary: Chinese, Japanese and
/// Korean, Thai, Lao, Khmer, Burmese and their neighbors. Korean has spaces, but particles that grow onto the words.
pub(super) fn has_no_spaces(c: char) -> bool {
    if c < '\u{0e00}' {
        return false;
    }
    matches!(c,
        '\u{0e01}'..='\u{0e3a}' | '\u{0e40}'..='\u{0e4e}' // Thai, without its digits
        | '\u{0e81}'..='\u{0ecf}' | '\u{0edc}'..='\u{0edf}' // Lao
        | '\u{1000}'..='\u{103f}' | '\u{1050}'..='\u{108f}' | '\u{109a}'..='\u{109f}' // Burmese
        | '\u{1100}'..='\u{11ff}' // Hangul
        | '\u{1780}'..='\u{17d3}' // Khmer
        | '\u{1950}'..='\u{19cf}' | '\u{1a20}'..='\u{1a7c}' | '\u{aa80}'..='\u{aadf}' // Tai Le, New Tai Lue, Tai Tham, Tai Viet
        | '\u{a9e0}'..='\u{a9ef}' | '\u{a9fa}'..='\u{a9fe}' | '\u{aa60}'..='\u{aa7f}' // Burmese
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3031}'..='\u{303c}' // Han
        | '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' // Hiragana, Katakana
        | '\u{3105}'..='\u{318e}' | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' // Bopomofo, Hangul, Katakana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' // Han
        | '\u{a960}'..='\u{a97c}' | '\u{ac00}'..='\u{d7fb}' // Hangul
        | '\u{ff66}'..='\u{ffdc}' // half as wide
        | '\u{1aff0}'..='\u{1b16f}' // Kana
        | '\u{20000}'..='\u{3ffff}' // Han
    )
}
