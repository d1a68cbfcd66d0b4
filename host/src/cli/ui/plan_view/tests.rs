use super::*;
use crate::node::NodeId;
use crate::op::{ChangeAction, Verdict};
use crate::operations::plan::compose as document;
use crate::operations::testing::{change, manifest, plan, stage};
use crate::redact::{Redactor, Secret};

const PLAIN: Palette = Palette { enabled: false };

fn sample(redactor: &Redactor) -> Document {
    let create = || change(ChangeAction::Create, &["+version = 3", "+password = hunter2-hunter2"]);
    let done = Some(Verdict::Satisfied);
    let mut restarted = stage(
        "containerd",
        &[
            (Some(0), "write /etc/containerd/config.toml", create()),
            (
                Some(1),
                "write /etc/containerd/config.toml",
                change(ChangeAction::Modify, &["-version = 2", "+version = 3"]),
            ),
            (Some(1), "install containerd 2.3.4", done.clone()),
            (Some(1), "restart containerd.service", change(ChangeAction::Run, &[])),
            (Some(2), "write /etc/containerd/config.toml", None),
        ],
    );
    restarted.ops[3].modifiers.disruptive = Some("pods on the node restart\u{1b}[2J".into());
    let stages = vec![
        stage(
            "os-prepare",
            &[
                (Some(0), "set 3 sysctls", done.clone()),
                (Some(1), "set 3 sysctls", done),
                (Some(2), "x", None),
            ],
        ),
        restarted,
        stage("control-plane", &[(Some(0), "kubeadm init", Some(Verdict::Unknown))]),
        stage("old", &[(Some(0), "remove /etc/old", change(ChangeAction::Remove, &["-gone"]))]),
        stage("network", &[(None, "apply 12 objects", Some(Verdict::Unknown))]),
    ];
    let unreachable = NodeId(2);
    document(&manifest(1, 2), &plan(stages), |node| node != unreachable, |_| true, redactor)
}

#[test]
fn a_plan_is_a_table_of_stages_and_nodes() {
    let document = sample(&Redactor::default());
    insta::assert_snapshot!(table(&document, 100, PLAIN));
}

#[test]
fn details_show_diffs_but_no_secret_and_no_escape() {
    let redactor = Redactor::default();
    redactor.learn(&Secret::new("hunter2-hunter2"));
    let document = sample(&redactor);
    let selection = Selection { stages: vec!["containerd".into()], ..Selection::default() };
    let text = details(&document, &selection, PLAIN);
    assert!(!text.contains("hunter2") && !text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
    let nothing =
        Selection { nodes: vec!["cp1".into()], stages: vec!["os-prepare".into()], everything: false };
    assert_eq!(details(&document, &nothing, PLAIN), "Nothing to do for this choice.\n");
    assert!(!serde_json::to_string(&document).unwrap().contains("hunter2"));
}

#[test]
fn many_nodes_share_columns_when_there_is_no_room() {
    let create = || change(ChangeAction::Create, &[]);
    let all: Vec<_> = (0..103).map(|node| (Some(node), "x", create())).collect();
    let some = vec![(Some(5), "x", create()), (Some(0), "x", Some(Verdict::Unknown))];
    let document = document(
        &manifest(3, 100),
        &plan(vec![stage("os-prepare", &all), stage("odd", &some)]),
        |_| true,
        |_| true,
        &Redactor::default(),
    );
    let text = table(&document, 100, PLAIN);
    insta::assert_snapshot!(text);
    assert!(text.lines().all(|line| line.chars().count() <= 120));
}

#[test]
fn the_document_for_programs_is_stable() {
    insta::assert_json_snapshot!(sample(&Redactor::default()).totals);
    let json = serde_json::to_value(sample(&Redactor::default())).unwrap();
    insta::assert_json_snapshot!(json["stages"][1]["steps"][1]);
}
