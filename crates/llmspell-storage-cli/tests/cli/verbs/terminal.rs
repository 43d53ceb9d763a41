//! What somebody sees on a terminal, of any width.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::{Workplace, path};

/// What the program writes to a terminal of this many columns.
fn shown(place: &Workplace, columns: u16, args: &[&str]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: columns.min(24),
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let end = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = place.command(args.iter().copied());
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    let mut child = command.stdout(end.try_clone().unwrap()).stderr(end).spawn().unwrap();
    // The ends that the command holds here would keep the terminal open.
    drop(command);
    let text = read_all(terminal);
    let status = child.wait().unwrap();
    assert!(status.success(), "{text}");
    text.replace("\r\n", "\n")
}

/// Until the last program has closed the terminal, which Linux tells by an error.
fn read_all(terminal: OwnedFd) -> String {
    let mut file = std::fs::File::from(terminal);
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(count) => text.extend(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(text).unwrap()
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.trim_end().chars().count()).max().unwrap()
}

#[test]
fn a_terminal_that_knows_no_width_shows_tables_as_if_there_were_none() {
    let place = Workplace::new();
    let words = "word ".repeat(60);
    let words = words.trim_end();
    let row = format!(r#"{{"id": "a", "vector": [1, 0], "metadata": {{"text": "{words}"}}}}"#);
    let file = place.file("row.jsonl", row);
    place.run(["import", path(&file)]).succeeds();
    let piped = place.run(["list", "--limit", "1"]).succeeds().stdout();
    assert!(piped.contains(words));

    assert_eq!(shown(&place, 0, &["list", "--limit", "1"]), piped);
    for columns in [40, 80, 140] {
        let text = shown(&place, columns, &["list", "--limit", "1"]);
        let widest = widest(&text);
        assert!(
            widest <= usize::from(columns) && widest + 8 > usize::from(columns),
            "{columns}: {text}"
        );
    }
    for columns in [1, 20] {
        assert!(
            shown(&place, columns, &["list", "--limit", "1"]).contains('a'),
            "{columns}"
        );
    }
    for columns in [0, 80, 140] {
        let text = shown(&place, columns, &["stats"]);
        assert!(
            text.contains("balanced") && text.contains("default"),
            "{columns}: {text}"
        );
        assert!(
            columns == 0 || widest(&text) <= usize::from(columns),
            "{columns}: {text}"
        );
    }
}

#[test]
fn a_value_ends_with_a_line_of_its_own_and_a_bar_shows_that_a_long_job_lives() {
    let place = Workplace::with_notes();
    place.run(["kv", "set", "theme", "dark"]).succeeds();
    assert_eq!(place.run(["kv", "get", "theme"]).succeeds().stdout(), "dark");
    assert_eq!(shown(&place, 80, &["kv", "get", "theme"]), "dark\n");
    let rows = (0..3000).map(|n| format!("{{\"id\": \"{n}\", \"vector\": [1, {n}]}}"));
    let file = place.file("rows.jsonl", rows.collect::<Vec<_>>().join("\n"));
    let text = shown(&place, 80, &["--space", "more", "import", path(&file)]);
    assert!(text.contains("3,000 entries stored in"), "{text}");
    assert!(text.contains('━') || text.contains('─'), "a bar was there: {text:?}");
}
