//! Words that nearly each text of a language has: articles, pronouns, prepositions, forms of "to be" and "to have".
//!
//! Folded as terms are, in the order of their bytes, so that they can be looked up.

#[rustfmt::skip]
pub(super) const DANISH: [&str; 89] = [
    "af", "alle", "alt", "anden", "at", "blev", "blive", "bliver", "da", "de", "dem", "den", "denne", "der",
    "deres", "det", "dette", "dig", "din", "disse", "dog", "du", "efter", "eller", "en", "end", "er", "et", "for",
    "fra", "ham", "han", "hans", "har", "havde", "have", "hende", "hendes", "her", "hun", "hvad", "hvis", "hvor",
    "i", "ikke", "ind", "jeg", "jer", "jo", "kunne", "man", "mange", "med", "meget", "men", "mig", "min", "mit",
    "mod", "ned", "nogle", "nok", "nu", "når", "og", "også", "om", "op", "os", "over", "på", "selv", "sig", "sin",
    "skal", "skulle", "som", "sådan", "thi", "til", "ud", "under", "var", "vi", "vil", "ville", "vor", "være",
    "været",
];

#[rustfmt::skip]
pub(super) const DUTCH: [&str; 98] = [
    "aan", "al", "alles", "als", "altijd", "andere", "ben", "bij", "daar", "dan", "dat", "de", "der", "deze", "die",
    "dit", "doch", "doen", "door", "dus", "een", "eens", "en", "er", "ge", "geen", "geweest", "haar", "had", "heb",
    "hebben", "heeft", "hem", "het", "hier", "hij", "hoe", "hun", "ik", "in", "is", "je", "kan", "kon", "kunnen",
    "maar", "me", "meer", "men", "met", "mij", "mijn", "moet", "na", "naar", "niet", "niets", "nog", "nu", "of",
    "om", "omdat", "onder", "ons", "ook", "op", "over", "reeds", "te", "tegen", "toch", "toen", "tot", "u", "uit",
    "uw", "van", "veel", "voor", "want", "waren", "was", "wat", "werd", "wezen", "wie", "wil", "worden", "wordt",
    "zal", "ze", "zelf", "zich", "zij", "zijn", "zo", "zonder", "zou",
];

#[rustfmt::skip]
pub(super) const ENGLISH: [&str; 115] = [
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing",
    "during", "each", "few", "for", "from", "further", "had", "has", "have", "having", "he", "her", "here", "hers",
    "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "itself", "just", "me", "more", "most", "my",
    "no", "nor", "not", "of", "off", "on", "once", "only", "or", "other", "our", "ours", "out", "over", "own",
    "same", "she", "should", "so", "some", "such", "than", "that", "the", "their", "theirs", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "very", "was", "we",
    "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
    "yours",
];

#[rustfmt::skip]
pub(super) const FRENCH: [&str; 81] = [
    "a", "ai", "au", "aux", "avait", "avec", "c", "ce", "ces", "cette", "d", "dans", "de", "des", "du", "elle",
    "elles", "en", "est", "et", "eu", "eux", "il", "ils", "j", "je", "l", "la", "le", "les", "leur", "leurs", "lui",
    "m", "ma", "mais", "me", "mes", "mon", "même", "n", "ne", "nos", "notre", "nous", "on", "ont", "ou", "où",
    "par", "pas", "pour", "qu", "que", "qui", "s", "sa", "sans", "se", "ses", "si", "son", "sont", "sous", "sur",
    "t", "ta", "te", "tes", "toi", "ton", "tu", "un", "une", "vos", "votre", "vous", "y", "à", "été", "être",
];

#[rustfmt::skip]
pub(super) const GERMAN: [&str; 169] = [
    "aber", "alle", "allem", "allen", "aller", "alles", "als", "also", "am", "an", "andere", "anderen", "auch",
    "auf", "aus", "bei", "bin", "bis", "bist", "da", "damit", "dann", "das", "dass", "dein", "deine", "dem", "den",
    "denn", "der", "des", "dessen", "dich", "die", "dies", "diese", "diesem", "diesen", "dieser", "dieses", "dir",
    "doch", "dort", "du", "durch", "ein", "eine", "einem", "einen", "einer", "eines", "er", "es", "etwas", "euch",
    "euer", "für", "gegen", "hab", "habe", "haben", "hat", "hatte", "hatten", "hier", "hin", "hinter", "ich", "ihm",
    "ihn", "ihnen", "ihr", "ihre", "ihrem", "ihren", "ihrer", "im", "in", "ist", "ja", "jede", "jedem", "jeden",
    "jeder", "jedes", "jene", "jetzt", "kann", "kein", "keine", "keinem", "keinen", "keiner", "können", "man",
    "manche", "mein", "meine", "mich", "mir", "mit", "muss", "musste", "nach", "nicht", "nichts", "noch", "nun",
    "nur", "ob", "oder", "ohne", "sehr", "sein", "seine", "seinem", "seinen", "seiner", "selbst", "sich", "sie",
    "sind", "so", "soll", "sollte", "sondern", "sonst", "um", "und", "uns", "unser", "unter", "viel", "vom", "von",
    "vor", "war", "waren", "was", "weg", "weil", "weiter", "welche", "welchem", "welchen", "welcher", "welches",
    "wenn", "werde", "werden", "wie", "wieder", "will", "wir", "wird", "wirst", "wo", "wollen", "wurde", "wurden",
    "während", "würde", "würden", "zu", "zum", "zur", "zwar", "zwischen", "über",
];

#[rustfmt::skip]
pub(super) const ITALIAN: [&str; 115] = [
    "a", "ad", "agli", "ai", "al", "alla", "alle", "allo", "anche", "c", "che", "chi", "ci", "coi", "col", "come",
    "con", "contro", "cui", "d", "da", "dagli", "dai", "dal", "dalla", "dalle", "dallo", "degli", "dei", "del",
    "dell", "della", "delle", "dello", "di", "dove", "e", "ed", "era", "erano", "essere", "fu", "gli", "ha",
    "hanno", "ho", "i", "il", "in", "io", "l", "la", "le", "lei", "li", "lo", "loro", "lui", "ma", "mi", "mia",
    "mio", "ne", "negli", "nei", "nel", "nella", "nelle", "nello", "noi", "non", "nostra", "nostro", "o", "per",
    "perché", "più", "quale", "quanto", "quella", "quelle", "quelli", "quello", "questa", "queste", "questi",
    "questo", "se", "sei", "si", "sia", "siamo", "sono", "sta", "su", "sua", "sue", "sui", "sul", "sulla", "sulle",
    "sullo", "suo", "suoi", "ti", "tra", "tu", "tua", "tuo", "un", "una", "uno", "vi", "voi", "è",
];

#[rustfmt::skip]
pub(super) const NORWEGIAN: [&str; 94] = [
    "alle", "at", "av", "bare", "begge", "ble", "blir", "da", "de", "deg", "dem", "den", "denne", "der", "deres",
    "det", "dette", "di", "din", "disse", "du", "eller", "en", "enn", "er", "et", "etter", "for", "fra", "før",
    "ha", "hadde", "han", "hans", "har", "hennes", "her", "hun", "hva", "hvem", "hvis", "hvor", "i", "ikke", "inn",
    "ja", "jeg", "kan", "kom", "kunne", "man", "mange", "med", "meg", "men", "min", "mitt", "mot", "mye", "ned",
    "noe", "noen", "nå", "når", "og", "også", "om", "opp", "oss", "over", "på", "seg", "selv", "si", "sin", "sitt",
    "skal", "skulle", "slik", "som", "så", "til", "um", "under", "ut", "var", "ved", "vi", "vil", "ville", "vår",
    "være", "vært", "å",
];

#[rustfmt::skip]
pub(super) const PORTUGUESE: [&str; 95] = [
    "a", "ao", "aos", "aquela", "aquele", "aqueles", "aquilo", "as", "até", "com", "como", "da", "das", "de",
    "dela", "dele", "deles", "depois", "do", "dos", "e", "ela", "elas", "ele", "eles", "em", "entre", "era", "essa",
    "esse", "esta", "este", "está", "eu", "foi", "foram", "há", "isso", "isto", "já", "lhe", "mais", "mas", "me",
    "mesmo", "meu", "minha", "muito", "na", "nas", "nem", "no", "nos", "nossa", "nosso", "num", "numa", "não",
    "nós", "o", "os", "ou", "para", "pela", "pelas", "pelo", "pelos", "por", "qual", "quando", "que", "quem", "se",
    "sem", "ser", "seu", "seus", "sua", "suas", "são", "só", "também", "te", "tem", "tinha", "tu", "tua", "um",
    "uma", "umas", "uns", "você", "à", "às", "é",
];

#[rustfmt::skip]
pub(super) const RUSSIAN: [&str; 103] = [
    "а", "без", "более", "бы", "был", "была", "были", "было", "быть", "в", "вам", "вас", "ведь", "весь", "во",
    "вот", "все", "всего", "всех", "вы", "где", "да", "даже", "для", "до", "его", "ее", "если", "есть", "еще", "же",
    "за", "здесь", "и", "из", "или", "им", "их", "к", "как", "ко", "когда", "кто", "ли", "либо", "мне", "может",
    "мы", "на", "над", "надо", "наш", "не", "него", "нее", "нет", "ни", "них", "но", "ну", "о", "об", "однако",
    "он", "она", "они", "оно", "от", "очень", "по", "под", "при", "про", "с", "со", "так", "также", "такой", "там",
    "те", "тем", "то", "того", "тоже", "той", "только", "том", "ты", "у", "уже", "хотя", "чего", "чей", "чем",
    "что", "чтобы", "чье", "чья", "эта", "эти", "это", "этот", "я",
];

#[rustfmt::skip]
pub(super) const SPANISH: [&str; 93] = [
    "a", "al", "algo", "ante", "antes", "como", "con", "contra", "cual", "cuando", "de", "del", "desde", "donde",
    "durante", "e", "el", "ella", "ellas", "ellos", "en", "entre", "era", "eran", "es", "esa", "ese", "eso", "esta",
    "este", "esto", "estos", "está", "fue", "fueron", "ha", "había", "han", "hasta", "hay", "la", "las", "le",
    "les", "lo", "los", "me", "mi", "mis", "mucho", "muy", "más", "ni", "no", "nos", "nosotros", "o", "os", "otra",
    "otro", "para", "pero", "poco", "por", "porque", "que", "quien", "qué", "se", "ser", "si", "sin", "sobre",
    "son", "su", "sus", "sí", "también", "tanto", "te", "tiene", "todo", "todos", "tu", "tus", "un", "una", "uno",
    "unos", "y", "ya", "yo", "él",
];

#[rustfmt::skip]
pub(super) const SWEDISH: [&str; 100] = [
    "alla", "allt", "att", "av", "blev", "bli", "blir", "de", "dem", "den", "denna", "deras", "dess", "det",
    "detta", "dig", "din", "dina", "ditt", "du", "där", "då", "efter", "ej", "eller", "en", "er", "ett", "från",
    "för", "ha", "hade", "han", "hans", "har", "henne", "hennes", "hon", "honom", "hur", "här", "i", "icke",
    "ingen", "inom", "inte", "jag", "ju", "kan", "kunde", "man", "med", "mellan", "men", "mig", "min", "mina",
    "mitt", "mot", "mycket", "ni", "nu", "när", "någon", "något", "några", "och", "om", "oss", "på", "samma",
    "sedan", "sig", "sin", "sina", "sitta", "själv", "skulle", "som", "så", "sådan", "till", "under", "upp", "ut",
    "utan", "vad", "var", "vara", "varför", "varit", "vars", "vem", "vi", "vid", "vilken", "än", "är", "åt", "över",
];
