//! The files of the cache: what they tell, what is believed of them, and what is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cache::{Cached, files};
use crate::support::sealed::{Kind, Sealer, bearer, organization_key};
use crate::support::vault::Endpoint::{Login, Sync};
use crate::support::{Outcome, Scenario, leaked};

/// Everything there is to see of a tree: kinds, modes, owners, times and contents, by path.
fn everything(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let status = fs::symlink_metadata(&path).expect("it is there");
        let content = match status.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).expect("it can be read").into_os_string(),
            kind if kind.is_file() => {
                let mut hasher = DefaultHasher::new();
                fs::read(&path).expect("it can be read").hash(&mut hasher);
                hasher.finish().to_string().into()
            }
            kind if kind.is_dir() => {
                left.extend(files(&path));
                "".into()
            }
            _ => "special".into(),
        };
        let times = (status.mtime(), status.mtime_nsec(), status.ino());
        let text = format!("{:o} {} {times:?} {content:?}", status.mode(), status.uid());
        seen.insert(path, text);
    }
    seen
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().expect("it starts").success(), "{program}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("its name is text")
}

/// The command has got its secret, and this was said.
#[track_caller]
fn said(outcome: &Outcome, lines: &[String]) {
    assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "value\n"), "{outcome:?}");
    assert_eq!(outcome.stderr, lines.concat());
}

fn notice(text: impl std::fmt::Display) -> String {
    format!("bws-exec: notice: {text}\n")
}

#[test]
fn only_we_may_look_whatever_the_umask() {
    let cached = Cached::new();
    let wrapper = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];
    cached.launch().under(wrapper).run().succeeded();
    let ours = cached.ours();
    assert_eq!(files(cached.directory.path()), std::slice::from_ref(&ours));
    assert_eq!(mode(&ours), 0o700);
    let name = Sealer::of(&cached.scenario).name();
    let expected = ["lock", "session", "snapshot"].map(|kind| ours.join(format!("{name}.{kind}")));
    assert_eq!(files(&ours), expected);
    for path in expected {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    // And a umask that takes rights from us does no harm either.
    let other = Cached::new();
    other.launch().under(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).run().succeeded();
    assert_eq!(other.run(&["--offline"]).succeeded().text(), "value\n");
}

/// Which of these stand in the bytes: as they are, in hexadecimal or in Base64 without its ends.
fn found<'a>(needles: &'a [(&'static str, Vec<u8>)], bytes: &[u8]) -> Vec<&'a str> {
    let forms = |needle: &[u8]| {
        let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
        let encoded = STANDARD.encode(&needle[..needle.len() / 3 * 3]);
        [needle.to_vec(), hex.into_bytes(), encoded.into_bytes()]
    };
    let stands = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form);
    needles.iter().filter(|(_, needle)| forms(needle).iter().any(stands)).map(|(name, _)| *name).collect()
}

#[test]
fn a_holder_of_the_directory_learns_nothing() {
    let scenario = Scenario::new().secret("DATABASE_PASSWORD", "correct horse").secret("NAME", "value");
    let owner = scenario.vault.owner();
    owner.rename_project(scenario.project, "billing department");
    let cached = Cached::of(scenario);
    // A limit is remembered in a file that is not sealed.
    let again = crate::support::vault::Fault::too_many_requests(Some("1"));
    cached.scenario.vault.fault_times(1, Sync, again);
    cached.run(&[]).succeeded();

    let Scenario { vault, project, token, .. } = &cached.scenario;
    let sealer = Sealer::of(&cached.scenario);
    let session = fs::read(cached.file("session").expect("there is one")).expect("it can be read");
    let session = sealer.open(Kind::Session, &session).expect("the holder of the token can open it");
    let snapshot = fs::read(cached.file("snapshot").expect("there is one")).expect("it can be read");
    let snapshot = sealer.open(Kind::Snapshot, &snapshot).expect("the holder of the token can open it");
    let state = vault.owner().state();
    let (secret_id, secret) = state.secrets.iter().next().expect("there are two");
    let (left, key) = token.split_once(':').expect("a token has a key");
    let token_id = left.split('.').nth(1).expect("a token has an id");
    let mut needles: Vec<(&str, Vec<u8>)> = [
        ("a key", "DATABASE_PASSWORD"),
        ("a value", "correct horse"),
        ("the project's name", "billing department"),
        ("the token's id", token_id),
        ("the token's key", key),
        ("the bearer", &bearer(&session)),
        ("an encrypted key", &secret.key),
        ("an encrypted value", &secret.value),
        ("the server", vault.api_url()),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .into();
    let ids = [
        ("the organization", vault.owner().organization_id()),
        ("the project", *project),
        ("the secret", *secret_id),
        ("the token", token_id.parse().expect("it is an id")),
    ];
    for (name, id) in ids {
        needles.push((name, id.to_string().into_bytes()));
        needles.push((name, id.as_bytes().to_vec()));
    }
    needles.push(("the organization's key", organization_key(&session).to_vec()));
    needles.push(("the token's key", STANDARD.decode(key).expect("it is Base64")));

    let ours = cached.ours();
    assert_eq!(files(&ours).len(), 4, "the limits too: {:?}", files(&ours));
    for path in files(&ours) {
        let bytes = [path.as_os_str().as_encoded_bytes(), &fs::read(&path).expect("it can be read")].concat();
        assert_eq!(found(&needles, &bytes), [""; 0], "in {}", path.display());
        assert_eq!(leaked(token, &bytes), [""; 0], "in {}", path.display());
    }
    // The search sees what is there: in the opened files, and each needle in what was planted.
    assert!(found(&needles, &session).contains(&"the bearer"));
    assert!(found(&needles, &snapshot).contains(&"an encrypted value"));
    for (name, needle) in &needles {
        for canary in [needle.clone(), STANDARD.encode(needle).into_bytes()] {
            fs::write(ours.join("canary"), [&b"before"[..], &canary, b"after"].concat()).expect("written");
            let bytes = fs::read(ours.join("canary")).expect("it can be read");
            assert!(found(&needles, &bytes).contains(name), "{name}");
        }
    }
    assert_ne!(leaked(token, token.as_bytes()), [""; 0]);
}

#[test]
fn sizes_tell_little_and_every_write_is_new() {
    let sealed = |count: usize| {
        let scenario = (0..count).fold(Scenario::new().secret("NAME", "value"), |scenario, number| {
            scenario.secret(&format!("NAME_{number}"), format!("value {number}"))
        });
        let cached = Cached::of(scenario);
        cached.run(&[]).succeeded();
        let read = || fs::read(cached.file("snapshot").expect("there is one")).expect("it can be read");
        let first = read();
        cached.run(&[]).succeeded();
        (first, read())
    };
    let ((one, _), (twenty, again)) = (sealed(0), sealed(19));
    assert_eq!(one.len(), twenty.len());
    assert_eq!(one.len(), 42 + 16_384 + 16);
    assert_eq!(twenty.len(), again.len());
    assert_eq!(twenty[..10], again[..10]);
    assert_ne!(twenty[10..42], again[10..42], "the salt");
    // With the same salt, or the same key stream, long runs would be the same.
    let same = twenty[42..].iter().zip(&again[42..]).filter(|(a, b)| a == b).count();
    assert!(same < 16_400 / 64, "{same} bytes of the ciphertext are the same");
    // More are in a file of the next power of two.
    assert_eq!(sealed(100).0.len(), 42 + 65_536 + 16);
}

/// `DynamicUser=` gives a symlink, Kubernetes an emptyDir that everybody may write to.
#[test]
fn the_operators_directory_may_be_anything() {
    for parent_mode in [0o700, 0o777, 0o1777] {
        let cached = Cached::new();
        let real = cached.directory.path().join("private");
        fs::create_dir(&real).expect("a directory can be made");
        set_mode(&real, parent_mode);
        let link = cached.directory.path().join("link");
        symlink("private", &link).expect("a link can be made");
        let launch = || cached.scenario.launch().option("--cache-dir").option(&link);
        assert_eq!(launch().command(["printenv", "NAME"]).run().succeeded().text(), "value\n");
        let outcome = launch().option("--offline").command(["printenv", "NAME"]).run();
        assert_eq!(outcome.succeeded().text(), "value\n");
        assert_eq!(mode(&real), parent_mode);
        let ours = real.join(cached.ours().file_name().expect("it has a name"));
        assert_eq!((mode(&ours), files(&ours).len()), (0o700, 3));
    }
}

/// Whoever may write to the parent can plant something in our place.
#[track_caller]
fn is_left_alone(cached: &Cached, problem: &str) {
    let root = cached.directory.path();
    let before = everything(root);
    cached.asked();
    let stderr = format!("{}: {problem}", cached.ours().display());
    let warning = format!("bws-exec: warning: the cache is not used: {stderr}\n");
    said(&cached.run(&[]), &[warning]);
    cached.run(&["-q"]).succeeded();
    assert_eq!(cached.asked(), [Login, Sync, Login, Sync]);
    let hint = "check who may write there; a run without --offline writes a new copy";
    let stderr = crate::errors::error("copy-unusable", &format!("cannot use the copy in {stderr}"), hint);
    cached.run(&["--offline"]).failed(125, &stderr);
    assert_eq!(cached.asked(), []);
    assert_eq!(everything(root), before);
}

#[test]
fn what_was_planted_in_place_of_our_directory_is_left_alone() {
    let symlink_or_none = "it is a symlink or no directory";
    for target_mode in [0o700, 0o777] {
        let cached = Cached::new();
        let target = cached.directory.path().join("target");
        fs::create_dir(&target).expect("a directory can be made");
        set_mode(&target, target_mode);
        fs::write(target.join("precious"), "not ours").expect("it can be written");
        symlink(&target, cached.ours()).expect("a link can be made");
        is_left_alone(&cached, symlink_or_none);
    }
    let cached = Cached::new();
    symlink("nowhere", cached.ours()).expect("a link can be made");
    is_left_alone(&cached, symlink_or_none);
    let cached = Cached::new();
    fs::write(cached.ours(), "not ours").expect("it can be written");
    is_left_alone(&cached, symlink_or_none);
    let cached = Cached::new();
    run("mkfifo", &["-m", "700", text(&cached.ours())]);
    is_left_alone(&cached, symlink_or_none);
    for other_mode in [0o755, 0o770, 0o701, 0o500, 0o4755] {
        let cached = Cached::warm();
        set_mode(&cached.ours(), other_mode);
        is_left_alone(&cached, "its mode is not 0700");
        set_mode(&cached.ours(), 0o700);
    }
}

#[test]
#[ignore = "needs root"]
fn what_belongs_to_another_user_is_left_alone() {
    let cached = Cached::warm();
    run("chown", &["65534", text(&cached.ours())]);
    is_left_alone(&cached, "it belongs to another user");
}

#[test]
fn a_directory_that_is_not_there() {
    let cached = Cached::new();
    let absent = cached.directory.path().join("absent");
    let file = cached.directory.path().join("file");
    fs::write(&file, "").expect("it can be written");
    let name = cached.ours().file_name().expect("it has a name").to_owned();
    for (parent, problem) in
        [(&absent, "No such file or directory (os error 2)"), (&file, "Not a directory (os error 20)")]
    {
        let launch = cached.scenario.launch().option("--cache-dir").option(parent);
        let outcome = launch.command(["printenv", "NAME"]).run();
        let path = parent.join(&name);
        let warning = format!("bws-exec: warning: the cache is not used: {}: {problem}\n", path.display());
        said(&outcome, &[warning]);
    }
    assert_eq!(files(cached.directory.path()), [file]);
}

/// One file is of no use: that is told to whoever wants to know, costs what it would have saved, and
/// the next launch has a new one.
#[track_caller]
fn is_of_no_use(cached: &Cached, kind: &str, problem: &str, plant: &dyn Fn(&Path)) {
    let path = cached.ours().join(format!("{}.{kind}", Sealer::of(&cached.scenario).name()));
    let told = format!("{}: {problem}", path.display());
    let asked = if kind == "session" { &[Login, Sync][..] } else { &[Sync] };
    for options in [&["-v"][..], &[]] {
        plant(&path);
        let lines = [notice(format!("cannot use {told}"))];
        let outcome =
            cached.run(&[options, &["--max-age", "1h"][usize::from(kind == "session") * 2..]].concat());
        said(&outcome, &lines[..options.len()]);
        assert_eq!(cached.asked(), asked, "{kind}: {problem}");
        assert_eq!(mode(&path), 0o600);
        said(&cached.run(&["-v"]), &[]);
        assert_eq!(cached.asked(), [Sync]);
        said(&cached.run(&["-v", "--offline"]), &[]);
    }
    if kind == "snapshot" {
        plant(&path);
        // The lock's time of change may be another one.
        let before = everything(&path);
        let hint = "check who may write there; a run without --offline writes a new copy";
        let stderr = crate::errors::error("copy-unusable", &format!("cannot use the copy in {told}"), hint);
        cached.run(&["--offline"]).failed(125, &stderr);
        cached.outage();
        cached.run(&["--deadline", "500ms"]).failed_with(75, "unavailable");
        cached.scenario.vault.clear_faults();
        cached.asked();
        assert_eq!(everything(&path), before, "nothing was deleted");
        cached.run(&[]).succeeded();
        cached.asked();
    }
}

fn edit(path: &Path, edit: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    edit(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn files_that_were_changed() {
    let cached = Cached::warm();
    let changed = "it was changed, or belongs to another token or server";
    for kind in ["snapshot", "session"] {
        let check = |problem: &str, change: &dyn Fn(&mut Vec<u8>)| {
            is_of_no_use(&cached, kind, problem, &|path| edit(path, change));
        };
        check("it is not a file of bws-exec", &|bytes| bytes[0] ^= 1);
        check("it is not a file of bws-exec", &|bytes| bytes[8] = 0);
        check("it has format 2, of a newer bws-exec", &|bytes| bytes[8] = 2);
        check("it has format 255, of a newer bws-exec", &|bytes| *bytes = b"bws-exec\xff".to_vec());
        check("it was cut short", &Vec::clear);
        check("it was cut short", &|bytes| bytes.truncate(30));
        check("it was cut short", &|bytes| bytes.truncate(bytes.len() - 1));
        check("it was cut short", &|bytes| bytes.push(0));
        for at in [9, 10, 41, 42, 50, 9000, 42 + 16_384, 42 + 16_384 + 15] {
            check(changed, &|bytes| bytes[at] ^= 1);
        }
        check("it was cut short", &|bytes| bytes.truncate(42 + 8192 + 16));
        check(changed, &|bytes| bytes.resize(42 + 32_768 + 16, 0));
    }
}

#[test]
fn files_in_place_of_others() {
    let cached = Cached::warm();
    let changed = "it was changed, or belongs to another token or server";
    // Of another account, of another server, and of each other.
    let other_token = cached.scenario.vault.owner().create_token(cached.scenario.account, "other", None);
    let elsewhere = Cached::warm();
    let other = tempfile::tempdir().expect("a directory can be made");
    let ours = other.path().join(cached.ours().file_name().expect("it has a name"));
    let launch = cached.scenario.launch().option("--cache-dir").option(other.path());
    launch.env("BWS_ACCESS_TOKEN", &other_token).command(["true"]).run().succeeded();
    cached.asked();
    for kind in ["snapshot", "session"] {
        let of_another_token =
            files(&ours).into_iter().find(|path| path.extension().is_some_and(|it| it == kind));
        let swapped = if kind == "snapshot" { "session" } else { "snapshot" };
        let sources = [of_another_token, elsewhere.file(kind), cached.file(swapped)];
        for source in sources {
            let bytes = fs::read(source.expect("there is one")).expect("it can be read");
            is_of_no_use(&cached, kind, changed, &|path| fs::write(path, &bytes).expect("it can be written"));
        }
        // A kind that is written over does not help.
        let bytes = fs::read(cached.file(swapped).expect("there is one")).expect("it can be read");
        is_of_no_use(&cached, kind, changed, &|path| {
            fs::write(path, [&bytes[..9], &[if kind == "snapshot" { 1 } else { 2 }], &bytes[10..]].concat())
                .expect("it can be written");
        });
    }
}

/// The same token at another pair of servers: the name of the file leads nowhere, nor does the file.
#[test]
fn files_of_another_server() {
    let cached = Cached::warm();
    let elsewhere = Scenario::new();
    let launch = elsewhere.launch().option("--cache-dir").option(cached.directory.path());
    let launch = launch.env("BWS_ACCESS_TOKEN", &cached.scenario.token);
    launch.option("--offline").command(["true"]).run().failed_with(75, "no-copy");
}

#[test]
fn files_that_are_none() {
    let cached = Cached::warm();
    let remove = |path: &Path| fs::remove_file(path).expect("it can be removed");
    let elsewhere = cached.directory.path().join("elsewhere");
    for kind in ["snapshot", "session"] {
        fs::copy(cached.file(kind).expect("there is one"), &elsewhere).expect("it can be copied");
        let before = (fs::read(&elsewhere).expect("it can be read"), mode(&elsewhere));
        is_of_no_use(&cached, kind, "it is a symlink", &|path| {
            remove(path);
            symlink(&elsewhere, path).expect("a link can be made");
        });
        assert_eq!((fs::read(&elsewhere).expect("it is there"), mode(&elsewhere)), before);
        is_of_no_use(&cached, kind, "it is no plain file", &|path| {
            remove(path);
            run("mkfifo", &["-m", "600", text(path)]);
        });
        for other in [0o644, 0o640, 0o602] {
            is_of_no_use(&cached, kind, "others may read or change it", &|path| set_mode(path, other));
        }
    }
}

/// A directory cannot be replaced by a file: the cache is as good as none until somebody removes it.
#[test]
fn directories_in_place_of_files() {
    for kind in ["snapshot", "session"] {
        let cached = Cached::warm();
        let path = cached.file(kind).expect("there is one");
        fs::remove_file(&path).expect("it can be removed");
        fs::create_dir(&path).expect("a directory can be made");
        fs::write(path.join("precious"), "not ours").expect("it can be written");
        let (before, entries) = (everything(&path), files(&cached.ours()));
        let shown = path.display();
        let lines = [
            notice(format!("cannot use {shown}: it is no plain file")),
            notice(format!("cannot keep {shown}: Is a directory (os error 21)")),
        ];
        for _ in 0..2 {
            said(&cached.run(&["-v"]), &lines);
            assert_eq!(cached.asked().contains(&Login), kind == "session");
            said(&cached.run(&[]), &[]);
            cached.asked();
        }
        if kind == "snapshot" {
            cached.run(&["--offline"]).failed_with(125, "copy-unusable");
        }
        assert_eq!((everything(&path), files(&cached.ours())), (before, entries), "no rests of a write");
    }
}

/// A lock that cannot be had makes nobody wait.
#[test]
fn something_in_place_of_the_lock() {
    let cached = Cached::warm();
    let path = cached.file("lock").expect("there is one");
    let locked = |problem: &str| {
        let alone = "other launches are not waited for";
        said(&cached.run(&["-v"]), &[notice(format!("cannot lock {}: {problem}; {alone}", path.display()))]);
    };
    let elsewhere = cached.directory.path().join("elsewhere");
    fs::write(&elsewhere, "not ours").expect("it can be written");
    fs::remove_file(&path).expect("it can be removed");
    symlink(&elsewhere, &path).expect("a link can be made");
    locked("Too many levels of symbolic links (os error 40)");
    assert_eq!(fs::read(&elsewhere).expect("it is there"), b"not ours");
    fs::remove_file(&path).expect("it can be removed");
    fs::create_dir(&path).expect("a directory can be made");
    locked("Is a directory (os error 21)");
    fs::remove_dir(&path).expect("it can be removed");
    run("mkfifo", &["-m", "600", text(&path)]);
    assert_eq!(cached.run(&[]).succeeded().text(), "value\n");
}

#[test]
fn what_a_killed_launch_left_is_taken_away() {
    let cached = Cached::warm();
    let snapshot = cached.file("snapshot").expect("there is one");
    let name = snapshot.file_name().expect("it has a name").to_str().expect("it is text").to_owned();
    let session = name.replace("snapshot", "session");
    let ours = cached.ours();
    let plant = |name: &str, age: &str| {
        let path = ours.join(name);
        fs::write(&path, "left").expect("it can be written");
        run("touch", &["-d", age, text(&path)]);
        path
    };
    let (old, young) = ("2 minutes ago", "20 seconds ago");
    let gone = [plant(&format!("{name}.0123456789abcdef.tmp"), old), plant(&format!("{name}.x.tmp"), old)];
    let stay = [
        plant(&format!("{name}.fedcba9876543210.tmp"), young),
        plant(&format!("{name}.tmp.bak"), old),
        plant(&format!("{name}0.tmp"), old),
        plant("0123.snapshot.0123456789abcdef.tmp", old),
        plant(&format!("{session}.0123456789abcdef.tmp"), old),
        plant("notes.tmp", old),
        plant("notes", old),
    ];
    let directory = ours.join(format!("{name}.directory.tmp"));
    fs::create_dir(&directory).expect("a directory can be made");
    run("touch", &["-d", old, text(&directory)]);
    said(&cached.run(&["-v"]), &[]);
    assert_eq!(cached.asked(), [Sync], "the session was not written");
    assert!(gone.iter().all(|path| !path.exists()), "{:?}", files(&ours));
    let missing: Vec<_> = stay.iter().filter(|path| !path.exists()).collect();
    assert!(missing.is_empty() && directory.exists(), "{missing:?}");

    fs::remove_file(cached.file("session").expect("there is one")).expect("it can be removed");
    cached.run(&[]).succeeded();
    let missing: Vec<_> = stay.iter().filter(|path| !path.exists()).collect();
    assert_eq!(missing, [&stay[4]], "the session was written");
}
