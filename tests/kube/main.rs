//! ksp's Kubernetes part against a real API server. See README.md.

#![expect(clippy::unwrap_used, reason = "every case is a test, though not of the standard harness")]

mod access;
mod apply;
mod cluster;
mod draining;
mod nodes;
mod waiting;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use cluster::Cluster;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return fail(&error.to_string()),
    };
    // From this thread: the programs end with it.
    let cluster = match runtime.block_on(Cluster::start()) {
        Ok(cluster) => Arc::new(cluster),
        Err(reason) => return fail(&reason),
    };
    let conclusion = libtest_mimic::run(&arguments, trials(Some((runtime, cluster))));
    conclusion.exit_code()
}

#[expect(clippy::print_stderr, reason = "a test's only way to speak")]
fn fail(reason: &str) -> ExitCode {
    eprintln!("kube: {reason}");
    ExitCode::FAILURE
}

type Environment = (Arc<tokio::runtime::Runtime>, Arc<Cluster>);

fn trials(environment: Option<Environment>) -> Vec<Trial> {
    macro_rules! cases {
        ($($module:ident::$case:ident),* $(,)?) => {
            vec![$({
                let environment = environment.clone();
                Trial::test(concat!(stringify!($module), "::", stringify!($case)), move || {
                    let Some((runtime, cluster)) = environment else { return Err(Failed::without_message()) };
                    runtime.block_on($module::$case(&cluster));
                    Ok(())
                })
            }),*]
        };
    }
    cases![
        access::a_certificate_of_ours_is_accepted,
        access::a_certificate_of_another_authority_is_not,
        access::kubectl_works_with_our_kubeconfig,
        access::a_dead_endpoint_is_passed_over,
        access::nothing_that_answers_is_an_error_with_every_way,
        access::kubeadm_takes_our_authorities,
        apply::a_second_apply_writes_nothing,
        apply::a_probe_writes_nothing_and_shows_what_would_change,
        apply::what_leaves_the_set_is_pruned,
        apply::definitions_come_before_their_objects,
        apply::what_others_set_stays,
        apply::sets_of_stages_do_not_touch_each_other,
        apply::an_immutable_field_is_told_before_anything_changes,
        apply::secrets_are_not_shown,
        apply::a_namespace_on_a_cluster_object_is_refused,
        apply::an_unknown_kind_is_named,
        apply::deleting_leaves_nothing,
        draining::pods_leave_but_those_of_the_node_stay,
        draining::a_budget_that_holds_a_pod_is_named,
        draining::a_pod_that_nobody_would_make_again_refuses,
        draining::what_a_person_closed_stays_closed,
        nodes::labels_and_taints_come_and_go,
        nodes::a_missing_node_is_never_created,
        waiting::a_rollout_is_waited_for,
        waiting::a_timeout_says_why,
        waiting::conditions_presence_and_absence,
    ]
}
