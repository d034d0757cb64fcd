//! Every control has a twin: the same attack where that one control is switched off, and there it succeeds. So no test of a refusal passes
//! because the attack was none. No switch is in the program: what is switched off is left out here, by a reader of a few lines, by the
//! public piece below the layer that controls, by `sandbox = "none"`, or by a policy without the rule.
//!
//! Paths begin at this package. A test below checks that each test in the table exists, and that no twin is missing from it.
//!
//! | control | attack, refused | its twin, which succeeds |
//! |---|---|---|
//! | a signature | `tests/tunnel.rs::a_warrant_forged_with_another_key_is_refused` | `tests/twins/warrants.rs::a_forged_order_succeeds_only_without_the_signature`, `tests/twins/warrants.rs::an_unsigned_order_succeeds_only_without_the_signature`, `../crates/protocol/tests/twins.rs::another_keys_token_succeeds_only_without_the_signature`, `../crates/protocol/tests/twins.rs::an_unsigned_token_succeeds_only_without_the_signature` |
//! | by the pinned key | `tests/tunnel.rs::a_warrant_that_names_its_forger_is_refused` | `tests/twins/warrants.rs::an_order_that_brings_its_own_key_succeeds_only_without_the_pinned_key`, `../crates/protocol/tests/twins.rs::another_issuers_name_succeeds_only_without_the_issuer`, `../crates/protocol/tests/twins.rs::another_keys_name_succeeds_only_without_the_key_id` |
//! | the Worker's proof | `tests/tunnel.rs::a_worker_with_a_key_that_is_not_pinned_gets_no_session` | `tests/twins/worker.rs::a_false_worker_succeeds_only_without_the_pinned_key`, `../crates/protocol/tests/twins.rs::a_bridges_own_proof_sent_back_succeeds_only_without_the_label`, `../crates/protocol/tests/twins.rs::a_border_moved_between_two_nonces_succeeds_only_without_the_lengths` |
//! | the fingerprint in the pairing link | `tests/pair.rs::a_worker_with_another_key_than_the_links_is_not_pinned` | `../crates/protocol/tests/twins.rs::a_false_workers_key_at_pairing_succeeds_only_without_the_fingerprint` |
//! | a token's kind | `tests/tunnel.rs::a_token_of_another_kind_is_no_warrant` | `tests/twins/warrants.rs::a_token_of_another_kind_succeeds_only_without_the_kind`, `../crates/protocol/tests/twins.rs::a_token_of_another_kind_succeeds_only_without_the_kind`, `../crates/protocol/tests/twins.rs::a_kind_in_other_letters_succeeds_only_without_the_plain_header`, `../crates/protocol/tests/twins.rs::an_address_of_keys_in_the_header_succeeds_only_without_the_plain_header` |
//! | one audience | `tests/tunnel.rs::a_warrant_for_another_bridge_is_refused` | `tests/twins/warrants.rs::another_machines_order_succeeds_only_without_the_audience`, `../crates/protocol/tests/twins.rs::another_machines_token_succeeds_only_without_the_audience`, `../crates/protocol/tests/twins.rs::a_token_for_many_machines_succeeds_only_without_the_one_audience` |
//! | one session | `tests/tunnel.rs::a_warrant_of_another_session_is_refused`, `tests/tunnel.rs::a_warrant_of_this_bridges_last_session_is_refused` | `tests/twins/warrants.rs::an_order_of_the_last_session_succeeds_only_without_the_session`, `../crates/protocol/tests/twins.rs::another_sessions_token_succeeds_only_without_the_session`, `../crates/protocol/tests/twins.rs::a_sessions_token_before_the_session_succeeds_only_without_our_own_look` |
//! | a short life | `tests/tunnel.rs::an_expired_warrant_is_refused` | `tests/twins/warrants.rs::an_expired_order_succeeds_only_without_its_life`, `../crates/protocol/tests/twins.rs::a_token_of_ten_minutes_ago_succeeds_only_without_the_strict_clock`, `../crates/protocol/tests/twins.rs::a_token_without_an_end_succeeds_only_without_the_life`, `../crates/protocol/tests/twins.rs::a_token_that_lives_for_a_year_succeeds_only_without_the_life` |
//! | the sequence | `tests/tunnel.rs::a_warrant_sent_twice_is_refused`, `tests/tunnel.rs::a_warrant_out_of_sequence_is_refused` | `tests/twins/warrants.rs::a_replayed_order_succeeds_only_without_the_sequence`, `tests/twins/warrants.rs::an_order_out_of_sequence_succeeds_only_without_the_sequence` |
//! | claims of a strict shape | `tests/tunnel.rs::a_warrant_that_calls_itself_approved_is_refused` | `tests/twins/warrants.rs::an_order_that_calls_itself_approved_succeeds_only_without_the_strict_shape`, `../crates/protocol/tests/twins.rs::an_unknown_claim_succeeds_only_without_the_strict_shape` |
//! | ids that are no paths, and are there | `src/guard.rs::an_id_that_could_be_a_path_ends_the_session` | `tests/twins/warrants.rs::a_call_id_that_is_a_path_succeeds_only_without_the_look_at_it`, `../crates/protocol/tests/twins.rs::a_token_without_an_id_succeeds_only_without_the_id` |
//! | the longest frame | `tests/twins/warrants.rs::an_order_longer_than_any_frame_succeeds_only_without_the_bound` | the same, `../crates/protocol/tests/twins.rs::a_token_longer_than_any_frame_succeeds_only_without_the_bound` |
//! | the lease | `src/guard.rs::after_the_lease_nothing_is_taken` | `tests/twins/warrants.rs::an_order_after_a_long_silence_succeeds_only_without_the_lease` |
//! | the journal: one call, one run | `tests/tunnel.rs::a_call_ordered_again_in_a_later_session_is_answered_and_not_run_again` | `tests/twins/warrants.rs::a_call_ordered_again_succeeds_only_without_the_journal` |
//! | the brake: a file named `panic` | `tests/tunnel.rs::a_file_named_panic_freezes_every_call` | the same: when the file is gone, it runs |
//! | encryption on the way | `tests/pair.rs::a_link_to_an_unencrypted_worker_elsewhere_is_not_followed` | none: it would speak in clear on a real network; that the bridge does speak to an unencrypted Worker on this machine is what every test of the tunnel stands on |
//! | no listening socket | `tests/living.rs::the_doctor_finds_a_running_bridge_that_listens_on_nothing_and_dumps_no_core` | none: there is nothing that could be made to listen |
//! | the folder that is held open | `src/tools/mod.rs::no_tool_follows_a_way_out_or_to_what_is_never_touched` | `tests/twins/files.rs::a_way_up_succeeds_only_without_the_held_folder`, `tests/twins/files.rs::a_whole_path_succeeds_only_without_the_held_folder`, `tests/twins/files.rs::a_link_that_leads_out_succeeds_only_without_the_held_folder`, `tests/twins/files.rs::a_folder_that_is_a_link_succeeds_only_without_the_held_folder`, `src/tools/mod.rs::careless_tools_are_caught_by_the_same_ways` |
//! | the same, in a race | `tests/race.rs::no_write_escapes_through_a_folder_that_flips_into_a_link_while_a_naive_one_does` | the same |
//! | files with a second name | `src/tools/files_write.rs::a_hard_link_to_a_file_outside_is_refused_and_the_file_unchanged` | `tests/twins/files.rs::a_second_name_of_a_file_outside_succeeds_only_without_the_count_of_names` |
//! | names that are never touched | `src/places.rs::names_that_hold_secrets_are_refused_in_any_case` | `tests/twins/files.rs::a_forbidden_name_succeeds_only_without_the_list_of_names` |
//! | the same, where a link leads to | `src/places.rs::links_lead_nowhere_outside_and_to_nothing_forbidden` | `tests/twins/files.rs::a_harmless_name_for_a_forbidden_one_succeeds_only_without_the_second_look` |
//! | bounds on what is read | `tests/twins/files.rs::a_file_larger_than_the_memory_succeeds_only_without_the_bound` | the same |
//! | opens that wait for nobody | `src/places.rs::a_pipe_is_not_waited_for` | `tests/twins/files.rs::a_pipe_that_nobody_writes_to_succeeds_only_without_the_open_that_waits_for_nobody` |
//! | replacement at one stroke | `tests/twins/files.rs::a_half_written_file_succeeds_only_without_the_replacement_at_one_stroke` | the same |
//! | folders that are only added to | `tests/policy/append.rs::what_is_there_is_not_changed_replaced_moved_or_deleted` | `tests/twins/files.rs::a_change_of_what_is_there_succeeds_only_without_the_access_that_adds_alone` |
//! | the fence: files | `tests/sandbox.rs::a_command_reads_its_folder_and_nothing_outside_of_it`, `tests/sandbox.rs::a_command_changes_nothing_outside_of_its_folder_not_even_modes_and_dates` | the same |
//! | the fence: networks and sockets | `tests/sandbox.rs::a_command_reaches_no_network_not_even_this_machine`, `tests/sandbox.rs::a_command_reaches_no_socket_of_another_program_by_file_or_by_name` | the same |
//! | the fence: signals, groups, kernels' worlds | `tests/sandbox.rs::a_command_signals_none_but_its_own_processes`, `tests/sandbox.rs::a_command_neither_leaves_its_group_nor_makes_worlds_of_its_own` | the same |
//! | the fence: other programs' memory | `tests/twins/commands.rs::another_programs_memory_succeeds_only_without_the_fence`, `tests/twins/commands.rs::another_programs_environment_succeeds_only_without_the_fence` | the same |
//! | the fence: on macOS | `src/sandbox/macos.rs::a_profile_denies_first_and_opens_neither_homes_nor_the_network_nor_services` | none: the profile's text is all that can be tested without a Mac |
//! | no fence, no command | `tests/sandbox.rs::where_there_is_no_fence_there_is_no_command` | `tests/twins/commands.rs::a_command_behind_no_fence_succeeds_only_where_the_policy_says_none` |
//! | open files that are not inherited | `tests/sandbox.rs::a_command_inherits_no_open_file` | the same |
//! | four variables | `tests/sandbox.rs::a_fenced_call_sees_four_variables_its_name_and_its_folder` | `tests/twins/commands.rs::the_bridges_own_environment_succeeds_only_without_the_one_from_nothing` |
//! | limits: files, processes | `tests/sandbox.rs::a_command_has_limits` | `tests/twins/commands.rs::a_file_too_large_for_the_disk_succeeds_only_without_the_limits`, `tests/twins/commands.rs::a_thousand_open_files_succeed_only_without_the_limits`, `tests/twins/commands.rs::a_bomb_of_processes_succeeds_only_without_the_limits` |
//! | limits: output | `tests/sandbox.rs::a_fenced_call_that_floods_is_stopped_and_one_that_says_much_is_cut` | `tests/twins/commands.rs::a_flood_of_output_succeeds_only_without_the_bound` |
//! | the keeper: nothing outlives its call | `tests/sandbox.rs::nothing_that_a_call_began_outlives_it_whatever_group_or_session_it_fled_to`, `tests/sandbox.rs::nothing_that_a_command_began_outlives_a_bridge_that_is_killed` | the same |
//! | the pin of a program | `tests/policy/programs.rs::a_program_that_is_swapped_under_a_running_bridge_is_not_started`, `tests/policy/programs.rs::what_was_looked_at_is_what_is_started_whatever_has_its_path_since` | `tests/twins/commands.rs::a_swapped_program_succeeds_only_without_the_pin` |
//! | commands are listed | `src/tools/shell_run.rs::a_command_that_no_rule_begins_is_denied` | `tests/twins/law.rs::a_command_that_no_rule_begins_succeeds_only_where_a_rule_is_made_for_it` |
//! | the look at each word | `tests/policy/corpus.rs::none_of_the_ways_around_the_rules_is_allowed` | `tests/policy/corpus.rs::beginnings_alone_would_let_many_of_them_through` |
//! | programs that run others | `tests/policy/file.rs::programs_that_run_others_are_listed_only_as_dangerous_and_asked_about` | `tests/twins/law.rs::a_shell_that_runs_anything_succeeds_only_without_the_rule_about_interpreters` |
//! | programs that Bernard could write | `tests/policy/file.rs::a_program_that_bernard_or_anyone_could_change_is_refused` | `tests/twins/law.rs::a_program_that_bernard_can_write_succeeds_only_without_the_look_at_where_it_lies` |
//! | rates | `tests/policy/file.rs::what_has_a_rate_is_refused_when_it_has_been_that_often` | `tests/twins/law.rs::a_thousand_calls_an_hour_succeed_only_without_the_rate` |
//! | a policy is its owner's alone | `tests/policy/file.rs::a_policy_that_others_can_change_is_refused` | `tests/twins/law.rs::a_strangers_line_succeeds_only_without_the_look_at_who_may_write` |
//! | a policy lies in no root | `tests/policy/file.rs::a_root_never_opens_the_machine_the_home_folder_or_the_bridges_own` | `tests/twins/law.rs::a_policy_rewritten_by_a_file_tool_succeeds_only_without_the_rule_that_keeps_it_apart` |
//! | a key is its owner's alone | `src/home.rs::a_key_that_others_can_read_is_refused` | `tests/twins/law.rs::a_key_that_everyone_can_read_succeeds_only_without_the_look_at_its_mode` |
//! | the last good policy | `tests/tunnel.rs::a_broken_policy_is_told_and_the_last_good_one_stays_in_force_over_a_restart` | `tests/twins/law.rs::a_broken_file_that_stops_the_machine_succeeds_only_without_the_last_good_one` |
//! | unknown words are errors | `tests/policy/file.rs::what_is_unknown_or_doubled_is_refused_with_its_line` | `tests/twins/law.rs::a_mistyped_refusal_succeeds_only_without_the_strict_words` |
//! | rules are made at home | `tests/approve.rs::a_no_the_end_of_the_time_and_a_call_off_leave_the_policy_as_it_is` | `tests/twins/law.rs::a_rule_wished_for_over_the_tunnel_succeeds_only_without_the_yes_at_home` |
//! | a question in the chat | `tests/approve.rs::what_nobody_was_asked_about_in_the_chat_is_asked_about_at_home_or_denied` | `tests/twins/commands.rs::a_command_that_nobody_was_asked_about_succeeds_only_without_the_question` |
//! | a yes at home | `tests/approve.rs::nothing_that_the_worker_says_is_a_yes` | `tests/approve.rs::without_the_yes_the_tool_itself_refuses_and_with_one_put_in_its_place_it_would_run` |
//! | a yes is to one question | `src/approve.rs::a_yes_is_bound_to_all_of_the_question_and_to_this_machine` | `tests/twins/yes.rs::an_old_yes_for_the_same_again_succeeds_only_without_its_digest`, `tests/twins/yes.rs::a_yes_carried_to_another_question_succeeds_only_without_its_digest` |
//! | to what was shown | `tests/approve.rs::a_question_that_was_tampered_with_is_not_run_by_its_yes` | `tests/twins/yes.rs::other_arguments_under_a_yes_succeed_only_without_their_digest` |
//! | under one policy | `tests/approve.rs::when_the_policy_changes_the_call_is_judged_anew` | `tests/twins/yes.rs::a_yes_under_another_policy_succeeds_only_without_its_hash` |
//! | in time | `tests/approve.rs::what_nobody_answers_in_time_is_denied_and_cannot_be_approved_any_more` | `tests/twins/yes.rs::a_late_yes_succeeds_only_without_the_clock` |
//! | by its owner | `tests/approver.rs::a_press_by_anyone_else_or_for_anything_else_is_none` | `tests/twins/yes.rs::a_strangers_press_succeeds_only_without_the_look_at_whose_it_is` |
//! | and nothing in it hides | `src/approve.rs::nothing_hides_in_what_is_shown` | `tests/twins/yes.rs::a_name_that_paints_a_question_succeeds_only_without_the_escapes` |
//! | the log's chain | `src/audit.rs::a_changed_byte_is_found`, `src/audit.rs::a_removed_entry_whose_gap_was_closed_is_found`, `src/audit.rs::two_swapped_entries_are_found`, `src/audit.rs::an_added_entry_is_found` | `tests/twins/log.rs::a_changed_entry_succeeds_only_without_the_chain`, `tests/twins/log.rs::a_removed_entry_succeeds_only_without_the_chain`, `tests/twins/log.rs::two_entries_in_another_order_succeed_only_without_the_chain`, `tests/twins/log.rs::an_entry_that_never_was_succeeds_only_without_the_chain` |
//! | the log's head, kept apart | `src/audit.rs::a_log_whose_hashes_were_all_made_anew_is_found_by_the_anchor_and_only_by_it` | the same, `tests/twins/log.rs::a_log_cut_off_at_its_end_succeeds_only_without_the_head_that_is_kept_apart` |
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[cfg(target_os = "linux")] // elsewhere the fence is another one
#[path = "twins/commands.rs"]
mod commands;
#[path = "twins/files.rs"]
mod files;
#[path = "twins/law.rs"]
mod law;
#[path = "twins/log.rs"]
mod log;
#[path = "twins/machine.rs"]
mod machine;
#[path = "twins/warrants.rs"]
mod warrants;
#[path = "twins/worker.rs"]
mod worker;
#[path = "twins/yes.rs"]
mod yes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of the table above: control, attack, twin.
fn rows() -> Vec<[&'static str; 3]> {
    let lines = include_str!("twins.rs").lines();
    let rows = lines.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let rows = rows.skip(1); // its head
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let cells: [&str; 3] = cells.try_into().unwrap_or_else(|_| panic!("{row}"));
        cells
    })
    .collect()
}

/// The tests that a cell names, as files and functions.
fn tests(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once("::"))
}

/// The tests of a file of Rust: each function right behind the line that makes it one.
fn tests_in(file: &Path) -> BTreeSet<String> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines = text.lines().map(str::trim_start);
    let mut found = BTreeSet::new();
    while lines
        .by_ref()
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    {
        let named = lines.by_ref().find_map(|line| {
            let line = line.strip_prefix("async ").unwrap_or(line);
            line.strip_prefix("fn ")
        });
        let name = named.and_then(|line| line.split('(').next());
        found.extend(name.map(str::to_owned));
    }
    found
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn every_test_in_the_table_exists() {
    assert!(rows().len() > 50, "{}", rows().len());
    for [control, attack, twin] in rows() {
        assert!(tests(attack).next().is_some(), "{control}");
        let says_why = twin.starts_with("none: ") || twin.starts_with("the same");
        assert!(says_why || tests(twin).next().is_some(), "{control}");
        for (file, name) in tests(attack).chain(tests(twin)) {
            let known = tests_in(&package().join(file));
            assert!(known.contains(name), "{control}: {file} has no {name}");
        }
    }
}

#[test]
fn every_twin_is_in_the_table() {
    let listed: BTreeSet<(&str, &str)> = rows()
        .into_iter()
        .flat_map(|[_, attack, twin]| tests(attack).chain(tests(twin)))
        .collect();
    let folder = package().join("tests/twins");
    let ours = fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        format!("tests/twins/{name}")
    });
    let mut count = 0;
    for file in ours.chain(["../crates/protocol/tests/twins.rs".to_owned()]) {
        for name in tests_in(&package().join(&file)) {
            let is_twin = name.contains("_succeeds_only_") || name.contains("_succeed_only_");
            let in_table = listed.contains(&(file.as_str(), name.as_str()));
            assert_eq!(is_twin, in_table, "{file}::{name}");
            count += usize::from(is_twin);
        }
    }
    assert!(count > 60, "{count}");
}
