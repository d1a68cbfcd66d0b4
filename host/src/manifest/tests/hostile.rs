//! Inputs that nobody writes by hand: the manifest is refused, quickly, without a panic.

use std::time::{Duration, Instant};

use super::*;

fn check(text: &str) -> Vec<Diagnostic> {
    let environment = Environment { home: Some("/nonexistent".into()), variable: Box::new(|_| None) };
    let loaded = check_text(Path::new("manifest.toml"), text, String::new(), &environment);
    assert_eq!(loaded.manifest.is_none(), loaded.findings.iter().any(Diagnostic::is_error));
    // Drawing is part of it: every place must exist.
    assert!(snippet::render(&loaded.findings, true).len() < 1 << 20);
    loaded.findings
}

fn load_bytes(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.toml");
    fs::write(&path, bytes).unwrap();
    load(&path).findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn what_is_no_text_is_refused() {
    assert_eq!(load_bytes(b"\xff\xfe[\0c\0"), [codes::NOT_UTF8]);
    assert_eq!(load_bytes(b"[cluster]\nname = \"\xe9\""), [codes::NOT_UTF8]);
    assert_eq!(load_bytes(b"[cluster]\nname = \"a\0b\""), [codes::NUL_BYTE]);
    assert_eq!(load_bytes(b""), [codes::EMPTY]);
    assert_eq!(load_bytes(&vec![b'#'; (4 << 20) + 1]), [codes::TOO_LARGE]);
    let one = |path: &str| load(Path::new(path)).findings.remove(0).code;
    assert_eq!(one("/nonexistent/manifest.toml"), codes::UNREADABLE);
    assert_eq!(one("/dev/zero"), codes::NOT_A_FILE);
    assert_eq!(one("/"), codes::NOT_A_FILE);
    let surroundings = surroundings();
    assert_eq!(load(&surroundings.path().join("pipe")).findings[0].code, codes::NOT_A_FILE);
}

#[test]
fn nesting_is_bounded() {
    let lists = format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let tables = format!("x = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000));
    let dotted = format!("{} = 1", vec!["a"; 100_000].join("."));
    // Seventy nested inline tables of seventy dotted keys each: within every limit of the parser.
    let inner = format!("{{{}=", vec!["a"; 70].join("."));
    let both = format!("x = {}1{}", inner.repeat(70), "}".repeat(70));
    for text in [lists, tables, dotted, both] {
        let codes: BTreeSet<String> = check(&text).into_iter().map(|finding| finding.code).collect();
        assert!(
            codes.iter().all(|code| [codes::TOO_DEEP, codes::SYNTAX].contains(&code.as_str())),
            "{codes:?}"
        );
        assert!(!codes.is_empty());
    }
}

#[test]
fn huge_documents_are_refused_in_time() {
    let cluster = "[cluster]\nname=\"a\"\nkubernetes=\"1.36.3\"\nendpoint=\"a:1\"\n";
    let node = |number: usize| {
        format!("[[node]]\nname=\"n{number}\"\naddress=\"10.1.0.{}\"\nroles=[\"worker\"]\n", number % 256)
    };
    let nodes: String = (0..12_000).map(node).collect();
    let texts = [
        ("nodes", format!("{cluster}{nodes}")),
        ("empty nodes", "[[node]]\n".repeat(100_000)),
        ("unknown keys", (0..60_000).map(|number| format!("k{number} = 1\n")).collect()),
        ("numbers", format!("x = [{}]", "1,".repeat(1_000_000))),
        (
            "roles",
            format!(
                "{cluster}[[node]]\nname=\"a\"\naddress=\"10.0.0.1\"\nroles=[{}]",
                "\"etcd\",".repeat(60_000)
            ),
        ),
        (
            "labels",
            format!(
                "{cluster}[[node]]\nname=\"a\"\naddress=\"10.0.0.1\"\nroles=[\"worker\"]\n[node.labels]\n{}",
                (0..60_000).map(|number| format!("_{number}=\"\"\n")).collect::<String>()
            ),
        ),
        ("syntax errors", "= \n".repeat(200_000)),
        ("syntax errors in one line", "= ".repeat(200_000)),
        ("open strings", "x = \"\n".repeat(100_000)),
    ];
    for (name, text) in texts {
        let start = Instant::now();
        let findings = check(&text);
        assert!(findings.iter().any(Diagnostic::is_error), "{name}");
        assert!(findings.len() <= 101, "{name}");
        let took = start.elapsed();
        println!("{name}: {took:?}");
        assert!(took < Duration::from_secs(60), "{name} took {took:?}");
    }
    let found = |text: &str| -> Vec<String> { check(text).into_iter().map(|finding| finding.code).collect() };
    assert_eq!(found(&format!("{cluster}{nodes}")), [codes::TOO_MANY_NODES]);
    assert_eq!(found(&"[[node]]\n".repeat(200)).pop().as_deref(), Some(codes::TOO_MANY));
}

/// Good manifests with random damage. Deterministic; the generator is xorshift.
#[test]
fn damaged_manifests_never_panic() {
    let corpus: Vec<String> = fs::read_dir(folder_of_tests())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    const PIECES: &[&str] = &[
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\"",
        "'''",
        "\"\"\"",
        "=",
        ".",
        ",",
        "\n",
        "\r",
        "#",
        "\u{202e}",
        "\u{1b}[2J",
        "é",
        "0x",
        "-",
        "1e999",
        "nan",
        "9999999999999999999999",
        "2026-01-01",
        "true",
        "node",
        "[[node]]\n",
        "[secrets]\n",
        "a.b.c = 1\n",
        "\t",
        "\\",
        "\u{feff}",
        "~",
        "/",
        "::",
    ];
    for _ in 0..800 {
        let mut text = corpus[random(corpus.len())].clone();
        for _ in 0..=random(4) {
            let at = text.floor_char_boundary(random(text.len() + 1));
            match random(4) {
                0 => text.insert_str(at, PIECES[random(PIECES.len())]),
                1 => {
                    let end = text.floor_char_boundary((at + random(40)).min(text.len()));
                    text.replace_range(at..end, "");
                }
                2 => {
                    let end = text.floor_char_boundary((at + random(80)).min(text.len()));
                    let copy = text[at..end].to_owned();
                    let to = text.floor_char_boundary(random(text.len() + 1));
                    text.insert_str(to, &copy);
                }
                _ => text.truncate(at),
            }
        }
        check(&text);
    }
}
