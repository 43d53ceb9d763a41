//! Does `import` read what people have, and set aside whatever is no entry?

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::common::{Ran, Workplace, le_bytes, npy, path};

fn all(place: &Workplace) -> Vec<Value> {
    place.run(["--json", "list", "--all", "--vectors"]).succeeds().json()
}

fn rejects(place: &Workplace, file: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| {
        (
            row["line"].as_u64().unwrap(),
            row["reason"].as_str().unwrap().to_string(),
        )
    })
    .collect()
}

fn import(place: &Workplace, name: &str, content: impl AsRef<[u8]>) -> Ran {
    let file = place.file(name, content);
    place.run(["import", path(&file)])
}

const ROWS: &str = "{\"id\": \"a\", \"vector\": [1, 0]}\n{\"id\": \"b\", \"vector\": [0, 1]}\n";

#[test]
fn lines_may_begin_with_a_byte_order_mark_and_end_as_on_windows() {
    let place = Workplace::new();
    import(&place, "bom.jsonl", format!("\u{feff}{}", ROWS.replace('\n', "\r\n"))).succeeds();
    assert_eq!(all(&place).len(), 2);
}

#[test]
fn an_array_of_objects_is_as_good_as_lines() {
    let place = Workplace::new();
    let array = "[\n  {\"id\": \"a\", \"vector\": [1, 0]},\n  {\"id\": \"b\",\n   \"vector\": [0, 1]}\n]\n";
    import(&place, "rows.json", array).succeeds();
    assert_eq!(all(&place).len(), 2);
    import(&place, "cut.json", "[\n{\"id\": \"c\", \"vector\": [1, 0]},\n")
        .fails(64, "cut.json:3: the array does not end");
}

#[test]
fn gzip_and_zstandard_are_unpacked_on_the_way() {
    let place = Workplace::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(ROWS.as_bytes()).unwrap();
    import(&place, "rows.jsonl.gz", gzip.finish().unwrap()).succeeds();
    let packed =
        |text: &str| ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    // Two frames, and between them one that readers skip.
    let mut frames = packed("{\"id\": \"c\", \"vector\": [1, 0]}\n");
    frames.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    frames.extend(packed("{\"id\": \"d\", \"vector\": [1, 0]}\n"));
    import(&place, "rows.jsonl.zst", &frames).succeeds();
    let ids: Vec<_> = all(&place).iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    frames.truncate(frames.len() - 3);
    import(&place, "cut.jsonl.zst", &frames).fails(1, "cannot read");
}

#[test]
fn an_array_may_be_compressed_too() {
    let place = Workplace::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&npy("<f4", "(2, 2)", &le_bytes(&[1.0, 0.0, 0.0, 1.0])))
        .unwrap();
    import(&place, "v.npy.gz", gzip.finish().unwrap()).succeeds();
    assert_eq!(all(&place)[1]["vector"], json!([0.0, 1.0]));
}

#[test]
fn a_table_has_its_vector_in_a_column_and_metadata_in_the_others() {
    let place = Workplace::new();
    let table = "id,emb,text,year\n007,\"[1, 0]\",\"Hello, you\",2026\nb,0 1,,\nc,x,no vector,1\nd,\"1,0\"\n";
    let file = place.file("table.csv", table);
    place.run(["import", path(&file)]).fails(64, "--vector-field");
    let import = [
        "import",
        path(&file),
        "--vector-field",
        "emb",
        "--skip-invalid",
        "bad.jsonl",
    ];
    place.run(import).succeeds();
    let entries = all(&place);
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&entries[0]["id"], &entries[0]["vector"], &entries[0]["metadata"]),
        (
            &json!("007"),
            &json!([1.0, 0.0]),
            &json!({"text": "Hello, you", "year": 2026})
        )
    );
    assert_eq!(entries[1]["metadata"], json!({}));
    let rejects = rejects(&place, "bad.jsonl");
    assert_eq!(rejects.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5]);
    assert!(
        rejects[0].1.contains("field `emb`") && rejects[1].1.contains("2 cells for 4 columns"),
        "{rejects:?}"
    );
}

#[test]
fn rows_of_other_stores_are_recognized_and_it_is_said() {
    for (store, row, metadata) in [
        (
            "Qdrant",
            json!({"id": "a", "version": 3, "score": 0.5, "payload": {"lang": "en"}, "vector": [1, 0]}),
            json!({"lang": "en"}),
        ),
        (
            "Pinecone",
            json!({"id": "a", "values": [1, 0], "metadata": {"lang": "en"}}),
            json!({"lang": "en"}),
        ),
        (
            "Chroma",
            json!({"id": "a", "embedding": [1, 0], "document": "Hello", "metadata": {"lang": "en"}}),
            json!({"document": "Hello", "lang": "en"}),
        ),
        (
            "LanceDB",
            json!({"id": "a", "vector": [1, 0], "lang": "en", "_distance": 0.1}),
            json!({"lang": "en"}),
        ),
    ] {
        let place = Workplace::new();
        let stderr = import(&place, "rows.jsonl", row.to_string()).succeeds().stderr();
        assert!(
            stderr.contains(&format!("note: the rows look like those of {store}")),
            "{stderr}"
        );
        let entry = &all(&place)[0];
        assert_eq!((&entry["id"], &entry["metadata"]), (&json!("a"), &metadata), "{store}");
    }
}

#[test]
fn times_are_dates_days_milliseconds_or_seconds_which_are_told() {
    let place = Workplace::new();
    let rows = [
        json!({"id": "a", "vector": [1, 0], "event_time": "2024-01-01"}),
        json!({"id": "b", "vector": [1, 0], "event_time": 1_704_103_200}),
        json!({"id": "c", "vector": [1, 0], "event_time": 1_704_103_200.5}),
        json!({"id": "d", "vector": [1, 0], "event_time": 1_704_103_200_000_i64}),
    ];
    let rows: Vec<_> = rows.iter().map(Value::to_string).collect();
    let stderr = import(&place, "t.jsonl", rows.join("\n")).succeeds().stderr();
    assert_eq!(stderr.matches("is read as seconds").count(), 1, "{stderr}");
    let times: Vec<_> = all(&place).iter().map(|entry| entry["event_time"].clone()).collect();
    let expected = [
        "2024-01-01T00:00:00Z",
        "2024-01-01T10:00:00Z",
        "2024-01-01T10:00:00.5Z",
        "2024-01-01T10:00:00Z",
    ];
    assert_eq!(times, expected);
}

#[test]
fn every_kind_of_bad_row_is_set_aside_in_whatever_order_they_come() {
    let bad = [
        json!({"id": "", "vector": [0, 1]}).to_string(),
        json!({"id": "big", "vector": [1, 0], "metadata": {"t": "x".repeat(70_000)}}).to_string(),
        json!({"id": "none", "vector": []}).to_string(),
        json!({"id": "cut", "vector": [1]}).to_string(),
        json!({"id": "x".repeat(10_000), "vector": [1, 0]}).to_string(),
        json!({"id": "when", "vector": [1, 0], "expires_at": "soon"}).to_string(),
        json!({"id": "no object", "vector": [1, 0], "metadata": 5}).to_string(),
        "no JSON".to_string(),
    ];
    let good = [
        "{\"id\": \"a\", \"vector\": [1, 0]}".to_string(),
        "{\"id\": \"b\", \"vector\": [0, 1]}".to_string(),
    ];
    let count = bad.len();
    for first in 0..count {
        let place = Workplace::new();
        let turned = (0..count).map(|at| bad[(first + at) % count].as_str());
        let rows: Vec<_> = turned.chain(good.iter().map(String::as_str)).collect();
        let file = place.file("rows.jsonl", rows.join("\n"));
        let import = ["import", path(&file), "--skip-invalid", "bad.jsonl"];
        place.run(import).succeeds();
        assert_eq!(all(&place).len(), good.len());
        let mut lines: Vec<_> = rejects(&place, "bad.jsonl").into_iter().map(|(line, _)| line).collect();
        // Those that only the store refuses come after the others of their batch.
        lines.sort_unstable();
        assert_eq!(lines, (1..=count as u64).collect::<Vec<_>>());
    }
}

#[test]
fn the_dimension_is_that_of_most_rows_or_the_one_declared() {
    let rows = "{\"id\": \"cut\", \"vector\": [1]}\n".to_string() + ROWS;
    let place = Workplace::new();
    let file = place.file("rows.jsonl", &rows);
    let import = ["import", path(&file), "--skip-invalid", "bad.jsonl"];
    let stderr = place.run(import).succeeds().stderr();
    assert!(
        stderr.contains("note: vectors have 2 components here, as 2 rows"),
        "{stderr}"
    );
    assert_eq!(all(&place).len(), 2);
    let place = Workplace::new();
    let file = place.file("rows.jsonl", &rows);
    let import = ["import", path(&file), "--dim", "1", "--skip-invalid", "bad.jsonl"];
    place.run(import).succeeds();
    assert_eq!(all(&place)[0]["id"], "cut");
}

#[test]
fn lines_beside_an_array_are_of_one_kind() {
    let array = npy("<f4", "(2, 2)", &le_bytes(&[1.0, 0.0, 0.0, 1.0]));
    let imported = |lines: &str| {
        let place = Workplace::new();
        let array = place.file("v.npy", &array);
        let lines = place.file("m.jsonl", lines);
        let ran = place
            .run(["import", path(&array), "--metadata", path(&lines)])
            .succeeds();
        (all(&place), ran.stderr())
    };
    // One line has a field that only metadata can have: so all of them are metadata.
    let (entries, stderr) = imported("{\"id\": \"doc-1\"}\n{\"id\": \"doc-2\", \"lang\": \"en\"}\n");
    assert_eq!(entries[0]["id"], "0");
    assert_eq!(entries[0]["metadata"], json!({"id": "doc-1"}));
    assert!(stderr.contains("is read as metadata"), "{stderr}");
    let (entries, stderr) = imported("{\"id\": \"doc-1\"}\n{\"id\": \"doc-2\"}\n");
    assert_eq!((&entries[0]["id"], stderr.as_str()), (&json!("doc-1"), ""));
}

#[test]
fn a_field_that_stands_in_the_metadata_and_beside_it_is_refused() {
    let place = Workplace::new();
    let row = json!({"id": "a", "vector": [1, 0], "lang": "en", "metadata": {"lang": "de"}});
    let file = place.file("rows.jsonl", row.to_string());
    let import = ["import", path(&file), "--other-fields", "metadata"];
    place
        .run(import)
        .fails(64, "field `lang` stands in `metadata` and beside it");
}
