//! Makes control planes with kubeadm: the first is initialised, the others join one by one, because etcd takes one learner at a time.

use ksp_sdk::kubeadm::{self, Token};
use ksp_sdk::prelude::*;

use crate::external_etcd::ExternalEtcd;
use crate::{ControlPlane, authorities, config, etcd};

/// Written last: a control plane without it is made again from where it stopped.
const COMPLETE: &str = "/etc/kubernetes/.control-plane-complete";

/// For one `kubeadm init` or `join`.
const LONGEST: Duration = Duration::from_secs(600);

/// Initialises the first; the op after which its API answers.
pub fn initialise(
    cx: &Context,
    stage: &ControlPlane,
    external: Option<&ExternalEtcd>,
    first: &Node,
) -> Result<Op> {
    let token = Token::ephemeral(cx, "init")?;
    let documents = config::init(stage, &cx.spec()?, external, first, &kubeadm::cri_socket(cx, first)?);
    let plan = cx.plan();
    let init = plan
        .exec(
            first,
            ["kubeadm", "init", "--config=/dev/stdin", "--skip-phases=addon/coredns,addon/kube-proxy"],
        )
        .summary("initialise the control plane with kubeadm")
        .stdin_secret(&token.put_into(cx, &documents)?)
        .creates(COMPLETE)
        .timeout(LONGEST)
        .provides("api");
    plan.file(first, COMPLETE, "complete\n").mode(0o600);
    give_back_rights(cx, first, &init)?;
    Ok(init)
}

/// What `kubeadm init` needs before there are any rules is gone as soon as there are (T25).
fn give_back_rights(cx: &Context, first: &Node, init: &Op) -> Result<Op> {
    let op = cx.plan().exec(first, ["sh", "-s"]).stdin(&cx.asset("rights.sh")?);
    Ok(op.summary("remove super-admin.conf").on_change(init))
}

/// Those that join.
pub struct Joining<'a> {
    /// The control plane that they join by.
    pub first: &'a Node,
    /// All others.
    pub others: &'a Nodes,
    /// Those of them that are known not to be complete.
    pub incomplete: &'a Nodes,
    /// Control planes whose etcd has lost its data.
    pub refill: &'a Nodes,
    /// What is done before the first of them.
    pub after: &'a [Op],
}

/// Joins one after the other; the op after which all are there.
pub fn join(cx: &Context, stage: &ControlPlane, joining: &Joining<'_>) -> Result<Op> {
    let Joining { first, others, incomplete, refill, after } = joining;
    let plan = cx.plan();
    let token = Token::ephemeral(cx, "join")?;
    let mint = token.mint(cx, &cx.spec()?, first)?.after_all(*after);
    let discovery = kubeadm::discovery_file(
        &first.at_port(kubeadm::API_PORT),
        &authorities::cluster(cx)?.certificate().text()?,
    );
    // Once a node is there it needs none, and must not change because another control plane is asked.
    for node in incomplete.iter().chain(refill.iter()) {
        plan.file(node, kubeadm::DISCOVERY, discovery.as_str());
    }
    let mut before = mint.clone();
    for node in *others {
        let document = token.put_into(cx, &config::join(stage, node, &kubeadm::cri_socket(cx, node)?))?;
        if refill.iter().any(|lost| lost.id == node.id) {
            let filled = etcd::refill(cx, node, &document, &before)?;
            mint.clone().only_for(&filled);
            before = filled;
            continue;
        }
        let begun = has_begun(node) && incomplete.iter().any(|it| it.id == node.id);
        let forgotten = begun.then(|| forget(cx, first, node).after(&before));
        let join = plan
            .exec(node, ["kubeadm", "join", "--config=/dev/stdin"])
            .summary("join the control plane with kubeadm")
            .stdin_secret(&document)
            .creates(COMPLETE)
            .timeout(LONGEST)
            .after(forgotten.as_ref().unwrap_or(&before));
        mint.clone().only_for(&join);
        if let Some(forgotten) = forgotten {
            drop(forgotten.only_for(&join));
        }
        before = plan.file(node, COMPLETE, "complete\n").mode(0o600);
    }
    Ok(before)
}

/// An earlier join was interrupted when the kubelet had its identity already.
fn has_begun(node: &Node) -> bool {
    node.facts().probe("kubelet-identity").is_some_and(|probe| probe.status == 0)
}

/// kubeadm takes a node that is Ready for another machine of the same name. The kubelet registers it again when the join restarts it.
fn forget(cx: &Context, via: &Node, node: &Node) -> Op {
    let delete = argv![
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "delete",
        "node",
        node.name.as_str(),
        "--ignore-not-found",
        "--timeout=60s",
    ];
    cx.plan()
        .exec(via, delete)
        .summary(format!("forget the interrupted join of {}", node.name))
        .timeout(Duration::from_secs(90))
}
