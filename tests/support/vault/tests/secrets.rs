//! What an account reads and writes with its bearer.

use super::*;

#[test]
fn grants_decide_what_is_read() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let other = owner.create_project("other");
    let seen = owner.create_secret(scene.project, "SEEN", "1");
    let shared = owner.create_secret_in(&[scene.project, other], "SHARED", "2", "note");
    let hidden = owner.create_secret(other, "HIDDEN", "3");
    owner.create_secret_in(&[], "NOWHERE", "4", "");
    let bearer = scene.bearer();

    let listed = scene.get(&bearer, &scene.organization_path("secrets")).json();
    let ids: Vec<&Value> =
        listed["secrets"].as_array().expect("a list").iter().map(|secret| &secret["id"]).collect();
    assert_eq!(ids, [&json!(seen), &json!(shared)]);
    assert_eq!(listed["projects"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["secrets"][0].get("value"), None);

    let by_project = |project: Uuid| scene.get(&bearer, &format!("/projects/{project}/secrets"));
    assert_eq!(by_project(scene.project).json()["secrets"].as_array().map(Vec::len), Some(2));
    assert_eq!(by_project(other).json()["secrets"], json!([]));
    assert_eq!(by_project(hidden).status, 404);

    assert_eq!(scene.get(&bearer, &format!("/secrets/{seen}")).json()["write"], true);
    assert_eq!(scene.get(&bearer, &format!("/secrets/{hidden}")).status, 404);
    let by_ids =
        |ids: Value| scene.send(&bearer, "POST", "/secrets/get-by-ids", &json!({ "ids": ids }).to_string());
    assert_eq!(by_ids(json!([shared, seen])).json()["data"][0]["object"], "baseSecret");
    for (ids, status) in
        [(json!([seen, hidden]), 404), (json!([]), 404), (json!([seen, seen]), 400), (json!(null), 400)]
    {
        assert_eq!(by_ids(ids.clone()).status, status, "{ids}");
    }
    assert_eq!(scene.get(&bearer, &format!("/organizations/{hidden}/secrets")).status, 404);

    owner.ungrant(scene.account, scene.project);
    assert_eq!(scene.get(&bearer, &scene.organization_path("secrets")).json()["secrets"], json!([]));
}

#[test]
fn a_sync_is_all_or_nothing() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let secret = owner.create_secret(scene.project, "A", "1");
    let bearer = scene.bearer();
    let (everything, nothing) = (Ok((true, Some(1))), Ok((false, None)));
    assert_eq!(scene.sync(&bearer, None), everything);

    let mut last = scene.now();
    let mut changes = |change: &dyn Fn()| {
        scene.vault.advance(Duration::from_millis(1));
        change();
        let synced = scene.sync(&bearer, Some(last));
        last = scene.now();
        assert_eq!(scene.sync(&bearer, Some(last)), nothing);
        synced
    };
    assert_eq!(changes(&|| {}), nothing);
    assert_eq!(changes(&|| owner.update_secret(secret, "2")), everything);
    assert_eq!(changes(&|| owner.grant(scene.account, scene.project, Access::Read)), everything);
    assert_eq!(changes(&|| owner.rename_project(scene.project, "renamed")), nothing);
    assert_eq!(changes(&|| _ = owner.create_token(scene.account, "another", None)), nothing);
    assert_eq!(changes(&|| _ = owner.create_secret_in(&[], "NOWHERE", "", "")), nothing);
    assert_eq!(changes(&|| owner.delete_secret(secret)), Ok((true, Some(0))));

    assert_eq!(scene.sync(&bearer, Some(scene.now().plus(HOUR))), Err(400));
    owner.delete_account(scene.account);
    assert_eq!(scene.sync(&bearer, Some(last)), Err(404));
    assert_eq!(scene.sync(&bearer, None), Ok((true, Some(0))));
    let unencoded = scene.organization_path("secrets/sync?lastSyncedDate=2024-01-01T00:00:00+00:00");
    assert_eq!(scene.get(&bearer, &unencoded).status, 400);
}

#[test]
fn an_account_creates_where_it_may_write() {
    let scene = Scene::new(Options::default());
    let owner = scene.owner();
    let read_only = owner.create_project("read only");
    owner.grant(scene.account, read_only, Access::Read);
    let bearer = scene.bearer();
    let secret = |value: &str, projects: &[Uuid]| {
        let (key, note) = (owner.encrypt("NEW"), owner.encrypt(""));
        json!({ "key": key, "value": value, "note": note, "projectIds": projects }).to_string()
    };
    let value = owner.encrypt("value");
    let create = |body: &str| scene.send(&bearer, "POST", &scene.organization_path("secrets"), body);
    for (projects, status) in
        [(&[][..], 404), (&[read_only], 404), (&[scene.project, read_only], 400), (&[scene.project], 200)]
    {
        assert_eq!(create(&secret(&value, projects)).status, status, "{projects:?}");
    }
    for refused in ["plain text", &owner.encrypt("x".repeat(27_000))] {
        let reply = create(&secret(refused, &[scene.project]));
        assert_eq!((reply.status, reply.json()["validationErrors"]["value"].is_array()), (400, true));
    }

    let id = owner.secrets()[0].id;
    let update = |body: &str| scene.send(&bearer, "PUT", &format!("/secrets/{id}"), body).status;
    assert_eq!(update(&secret(&value, &[read_only])), 404);
    assert_eq!(update(&secret(&owner.encrypt("edited"), &[scene.project])), 200);
    assert_eq!(owner.secrets()[0].value.as_deref(), Some("edited"));

    let kept = owner.create_secret(read_only, "KEPT", "");
    let delete = |ids: &[Uuid]| scene.send(&bearer, "POST", "/secrets/delete", &json!(ids).to_string());
    assert_eq!(delete(&[id, scene.account]).status, 404);
    let lines = delete(&[id, kept]).json()["data"].clone();
    assert_eq!((&lines[0]["error"], &lines[1]["error"]), (&Value::Null, &json!("access denied")));
    assert_eq!(owner.secrets().iter().map(|secret| secret.id).collect::<Vec<_>>(), [kept]);
}
