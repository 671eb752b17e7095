"""What must hold, and what fails when it does not: ``python -m tests.house.security``.

Writes docs/security.md. A test is named as PATH::NAME, below tests/.
"""

from dataclasses import dataclass
from typing import Final

from tests.house.source import ROOT

PAGE: Final = ROOT / "docs" / "security.md"
WEB: Final = "triage/worklist/test_"
DOOR: Final = "triage/commands/test_"
HEAD: Final = """\
# What is required, and what fails when it does not hold

Written by `make lists` from `tests/house/security.py`; a test holds every name below against the
tests that there are. References: HIPAA 45 CFR 164.312, ISO 27789, IHE ATNA, DICOM PS3.15 (A.5,
B.12, E), IEC 81001-5-1 5.7, BCP 195. How to run it: [hardening](hardening.md); who may do what:
[access](access.md); what is written down: [audit](audit.md); what it is built on:
[software of others](soup.md); is it what was released: [releases](releases.md); how to report a
weakness: [SECURITY.md](../SECURITY.md).

| | requirement | fails when it does not hold |
|---|---|---|
"""

SCANS: Final = """
## Scanners

Run by hand, on loopback, beside the tests:

- testssl.sh 3.0.8 and sslscan 2.0.7 on the DICOM port over TLS and on DICOMweb's: SSL 2 and 3, TLS
  1.0 and 1.1 are not offered. DICOM offers authenticated suites alone. DICOMweb also offered two
  suites in CBC mode; it no longer does (`tests/triage/dicomweb/test_tls.py`): on its port
  testssl.sh then found authenticated suites with forward secrecy alone, and with `-U` none of the
  vulnerabilities that it knows.
  sslscan also runs in the tests, on both ports: protocols, suites, renegotiation. Compression is
  not offered: Debian's OpenSSL is built without it.
- wapiti 3.2.3 (cookieflags, csp, http_headers, csrf, xss, sql, file, redirect, crlf) on what is
  served before signing in, behind a server that brings TLS and with `web.secure_cookies`: nothing
  found. On plain loopback a cookie has no Secure, which is a cross of `triage doctor` elsewhere.
  The same modules, exec and ssrf on the pages behind it, signed in as reader, admin and auditor in
  one: 257 addresses, nothing found, one request without an answer.
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence that must hold."""

    text: str
    tests: tuple[str, ...] = ()
    limit: str = ""
    """What it does not cover, or why it does not apply."""


def _r(text: str, *tests: str, limit: str = "") -> Requirement:
    return Requirement(text, tests, limit)


REQUIREMENTS: Final[dict[str, Requirement]] = {
    "S1": _r("No default account; the first admin by a one-time link; no start with a weak secret",
             f"{WEB}auth.py::test_uses_the_token_up",
             f"{WEB}start.py::test_a_key_of_zeros_is_refused",
             f"{WEB}signin.py::test_without_the_token_there_is_no_form"),
    "S2": _r("argon2id, 19 MiB or more, a salt each, renewed at sign-in",
             f"{WEB}passwords.py::test_a_password_is_kept_as_argon2id_with_the_least_memory_owasp"
             "_asks_for",
             f"{WEB}passwords.py::test_a_password_kept_with_weaker_settings_is_renewed"),
    "S3": _r("Back-off by account and address, locked after ten, the same time for unknown names",
             f"{WEB}sessions.py::test_ten_wrong_passwords_lock_the_account_and_raise_an_alert",
             f"{WEB}signin.py::test_a_flood_from_one_address_is_answered_429_without_checking",
             f"{WEB}passwords.py::test_an_unknown_name_costs_the_same_time"),
    "S4": _r("Sessions on the server, a new token at sign-in, ended by signing out and disabling",
             f"{WEB}sessions.py::test_it_is_gone_after_signing_out_even_for_a_kept_cookie",
             f"{WEB}sessions.py::test_it_ends_when_the_account_is_disabled",
             f"{WEB}account.py::test_a_new_one_ends_every_other_session_and_renews_this_one"),
    "S5": _r("Cookies bound to host and TLS; 15 min idle, 12 h in all",
             f"{WEB}signin.py::test_behind_tls_the_cookies_are_bound_to_host_and_tls",
             f"{WEB}sessions.py::test_it_ends_when_nobody_did_anything_for_too_long",
             f"{WEB}sessions.py::test_it_ends_at_its_greatest_age_however_busy_it_is"),
    "S6": _r("A token of the session on every change",
             f"{WEB}guard.py::test_a_change_without_the_sessions_token_is_refused",
             f"{WEB}guard.py::test_a_form_of_another_site_is_refused_whatever_it_carries"),
    "S7": _r("Second factor or the hospital's own sign-in; for admins required where switched on",
             f"{WEB}account.py::test_a_password_alone_opens_nothing",
             f"{WEB}account.py::test_an_admin_without_one_is_told_what_to_ask_for_and_let_in"
             "_nowhere",
             f"{WEB}single_sign_on.py::test_an_admin_needs_two_factors_there_or_here",
             f"{WEB}directory_tls.py::test_an_authority_that_is_not_ours_is_not_believed",
             f"{WEB}directory_tls.py::test_a_certificate_that_is_wrong_is_not_believed",
             f"{WEB}directory_tls.py::test_a_directory_that_cannot_start_tls_hears_no_password"),
    "S8": _r("Access in an emergency: with a reason, for a while, as an alert",
             f"{WEB}emergencies.py::test_a_reason_opens_the_study_and_its_images_and_is_a_security"
             "_alert",
             f"{WEB}emergencies.py::test_without_a_reason_it_stays_closed",
             f"{WEB}emergencies_dicomweb.py::test_the_study_is_found_and_given_and_each_look_names"
             "_the_opening",
             f"{WEB}emergencies_dicomweb.py::test_no_other_study_and_no_wider_search_is_opened"),
    "S9": _r("Nobody may what the table of roles does not say; an admin sees no image",
             f"{WEB}access.py::test_every_route_opens_for_whom_the_page_says_and_for_nobody_else",
             f"{WEB}access.py::test_a_route_without_a_line_serves_nobody",
             f"{WEB}access.py::test_an_admin_sees_a_study_but_no_image_unless_a_clinician_too"),
    "S10": _r("Each study, report and account is asked for by itself",
              f"{WEB}emergencies.py::test_it_opens_nothing_else",
              f"{WEB}emergencies.py::test_it_opens_to_nobody_else",
              limit="one installation serves one site, whose readers may see every study"),
    "S11": _r("Audit rows are added and read, never changed: by grants and by triggers",
              "db/test_audit.py::test_a_written_row_is_neither_changed_nor_deleted",
              "db/test_roles.py::test_what_a_role_may_not_do_is_refused"),
    "S12": _r("A process reaches only the files that it needs",
              "docker/test_systemd.py::test_the_web_cannot_write_what_was_received_and_the_listener"
              "_reads_no_key",
              "docker/test_users.py::test_none_of_the_users_is_root_and_each_unit_has_the_readers"
              "_group_first",
              "docker/test_users.py::test_each_reads_and_writes_what_the_table_says_and_nothing"
              "_else",
              "docker/test_users.py::test_a_worker_analyses_what_another_user_received_and_cannot"
              "_change_it",
              "docker/test_users.py::test_the_web_shows_its_picture_and_a_workers_map_and_cannot"
              "_change_it",
              "docker/test_compose.py::test_each_service_has_the_user_of_its_unit_and_that_users"
              "_secrets",
              "docker/test_switched_on.py::test_programs_store_by_the_web_as_the_user_who"
              "_receives",
              "docker/test_switched_on.py::test_the_trail_is_sent_by_the_user_who_keeps_it"),
    "S13": _r("DICOM TLS by BCP 195, certificates on both sides",
              "triage/receive/test_tls.py::test_a_scanner_finds_no_old_protocol_and_no_weak_suite",
              "triage/dicomweb/test_tls.py::test_a_scanner_finds_no_old_protocol_no_weak_suite_and_no"
              "_renegotiation",
              "triage/dicomweb/test_tls.py::test_a_session_taken_up_again_is_bound_to_its_handshake",
              "triage/receive/test_tls.py::test_a_caller_without_certificate",
              "triage/receive/test_tls.py::test_plain_and_tls_stand_side_by_side_unless_the_plain"
              "_port_is_off"),
    "S14": _r("Calling title, address and certificate are known; the called title is ours",
              "triage/receive/test_admission.py::test_a_peer_is_its_title_and_its_address",
              "triage/receive/test_tls.py::test_a_known_title_with_another_certificate_or_none",
              f"{DOOR}node.py::test_by_default_nobody_is_let_in_until_the_node_is_added"),
    "S15": _r("Hostile senders cost a place for a bounded time",
              "triage/receive/test_network.py::test_a_crowd_and_slow_sockets_keep_no"
              "_echo_waiting_and_no_memory",
              "triage/receive/test_lobby.py::test_a_request_of_four_gibibytes_is_aborted_at_its"
              "_header"),
    "S16": _r("Only configured places are called; no address out of a data set, no redirect",
              "path/test_canaries.py::test_no_address_that_a_data_set_names_was_called",
              "house/test_patterns.py::test_no_source_file_breaks_the_rule",
              f"{WEB}single_sign_on.py::test_a_document_that_leads_elsewhere_is_not_followed"),
    "S17": _r("Redis gives us our keys and no administration",
              "path/test_canaries.py::test_the_broker_lets_us_do_no_more_than_we_need",
              f"{DOOR}doctor_safety.py::test_a_broker_and_a_web_open_to_the_network_are_crosses"),
    "S18": _r("PostgreSQL has a role for the program and one for auditors",
              "db/test_roles.py::test_what_a_role_needs_it_may",
              "db/test_roles.py::test_what_a_role_may_not_do_is_refused",
              limit="scram and TLS are the server's settings"),
    "S19": _r("No path, command, statement, page or log line is built from a data set",
              "house/test_patterns.py::test_no_source_file_breaks_the_rule",
              "house/test_patterns.py::test_a_planted_finding_is_found",
              f"{WEB}every_page.py::test_a_name_of_html_script_and_64_kb_does_no_harm"),
    "S20": _r("No pickle: JSON messages, safetensors with checksums",
              "workers/test_messages.py::test_a_pickle_in_the_queue_is_refused_unread",
              "models/test_artifact.py::test_one_flipped_bit_in_any_file_is_refused",
              "house/test_patterns.py::test_a_planted_finding_is_found"),
    "S21": _r("MONAI 1.5.2 or later, nothing downloaded at run time",
              f"{DOOR}supply.py::test_a_planted_weak_version_is_found",
              "house/test_patterns.py::test_no_source_file_breaks_the_rule"),
    "S22": _r("Pixels are decoded in a child that can do nothing else",
              "triage/preprocess/test_sandbox.py::test_it_is_refused",
              "triage/preprocess/test_sandbox.py::test_it_cannot_grow_beyond_its_memory"),
    "S23": _r("No start with a version that is known to be weak",
              f"{DOOR}doctor_safety.py::test_a_weak_package_keeps_a_service_from_starting",
              f"{DOOR}doctor_safety.py::test_weak_packages_are_crosses",
              limit="GDCM is loaded, in the decoding child alone"),
    "S24": _r("Escaped pages, a strict content security policy, no store, HSTS behind TLS",
              f"{WEB}headers.py::test_every_answer_carries_every_security_header",
              f"{WEB}headers.py::test_the_policy_allows_no_inline_script_or_style_and_no_other_place",
              f"{WEB}every_page.py::test_a_name_of_html_script_and_64_kb_does_no_harm"),
    "S25": _r("Limits for bodies, headers, uploads and time",
              f"{WEB}headers.py::test_a_body_larger_than_any_form_is_refused",
              "triage/dicomweb/test_stow.py::test_limits_of_the_request_hold",
              "triage/dicomweb/test_server.py::test_a_connection_without_a_request_is_closed"),
    "S26": _r("No patient in an address; nothing is fetched from elsewhere",
              "path/test_canaries.py::test_pages_show_names_in_their_text_and_nowhere_else",
              f"{WEB}pages.py::test_cannot_be_asked_by_url",
              f"{WEB}every_page.py::test_no_page_has_an_obstacle_a_complaint_a_foreign_request_or"
              "_marks_a_location"),
    "S27": _r("An error tells a number, and nothing of what was asked",
              f"{WEB}headers.py::test_a_broken_page_tells_a_number_and_nothing_else",
              f"{WEB}headers.py::test_what_was_typed_wrongly_is_not_sent_back",
              "path/test_canaries.py::test_no_error_page_says_again_what_was_asked"),
    "S28": _r("No effect without its audit row",
              "db/test_audit.py::test_no_effect_without_its_audit_row",
              f"{WEB}pages.py::test_that_cannot_be_audited_is_not_shown"),
    "S29": _r("An edit, a deletion, another order, a cut tail and a chain written anew are found",
              "db/test_audit.py::test_an_edited_field_is_found",
              "db/test_audit.py::test_a_deletion_or_another_order_is_found",
              "db/test_audit.py::test_a_cut_tail_is_found",
              "db/test_audit.py::test_a_chain_written_anew_is_found",
              limit="a row taken out within the second before its seal is the residual risk"),
    "S30": _r("Looking is on record, also where it was refused",
              f"{WEB}auditing.py::test_others_are_refused_and_that_is_on_record_as_serious",
              f"{WEB}pages.py::test_is_audited_each_time_in_the_transaction_that_reads_it"),
    "S31": _r("Every transfer has its row",
              "triage/receive/test_transfers.py::test_each_association_has_as_many_transfers_as_the"
              "_listener_counted_in_it",
              "triage/receive/test_transfers.py::test_what_was_refused_turned_away_or_lost_is"
              "_counted_as_often_and_is_no_transfer",
              "db/test_audit.py::test_an_audit_row_and_its_effect_are_one",
              "triage/dicomweb/test_stow.py::test_refusals_are_counted_for_the_audit_trail"),
    "S32": _r("Kept for years, retired into signed archives, handed on as valid DICOM audit XML",
              "triage/trail/test_messages.py::test_every_row_becomes_a_valid_message_in_both_forms",
              "triage/trail/test_balp.py::test_with_a_patient_it_is_a_read_of_a_patients_data",
              "triage/trail/test_balp.py::test_what_does_not_fit_claims_no_profile",
              "triage/trail/test_retire.py::test_they_go_into_an_archive_and_both_are_proved"),
    "S33": _r("The clock's state is on record at each start",
              "triage/trail/test_starts.py::test_a_start_and_a_stop_carry_the_clocks_state",
              f"{DOOR}doctor_safety.py::test_a_sound_installation_has_no_cross_among_these"),
    "S34": _r("Logs, messages, metrics, temporary files and audit rows hold internal ids alone",
              "path/test_canaries.py::test_no_log_and_no_file_but_the_spool_holds_one",
              "path/test_canaries.py::test_the_broker_never_saw_one",
              "path/test_canaries.py::test_no_audit_row_nor_any_other_but_the_studies_own_holds_one",
              "db/test_engine.py::test_a_broken_constraint_quotes_no_value"),
    "S35": _r("Folders of mode 0700, files of 0600",
              "triage/test_spool.py::test_folders_and_files_are_for_their_owner_alone",
              "db/test_engine.py::test_the_files_are_their_owners_alone",
              f"{DOOR}harden.py::test_files_cores_and_memory_are_kept_private_also_in_children",
              limit="encryption of disks and backups is the site's"),
    "S36": _r("Deletion by retention, audited",
              "triage/record/test_deletion.py::test_files_and_maps_go_on_record_and_only_what_the"
              "_page_says_stays",
              "triage/record/test_custody.py::test_what_is_committed_goes_and_its_rows_stay",
              "triage/record/test_custody.py::test_a_deletion_that_was_cut_off_is_finished",
              f"{WEB}images.py::test_a_preview_goes_with_its_file",
              "triage/record/test_deletion.py::test_documents_go_after_the_images_and_leave_their"
              "_digests",
              limit="rows stay, with identity and result: see docs/custody.md"),
    "S37": _r("No core dumps, no reading of another process's memory",
              f"{DOOR}harden.py::test_files_cores_and_memory_are_kept_private_also_in_children",
              f"{DOOR}harden.py::test_another_process_of_the_same_user_cannot_read_its_environment",
              "triage/preprocess/test_sandbox.py::test_it_leaves_no_core_and_is_not_dumpable"),
    "S38": _r("Screens end when idle; no patient in a title",
              f"{WEB}sessions.py::test_a_request_of_a_person_renews_it_and_a_timer_does_not",
              f"{WEB}pages.py::test_a_page_title_holds_no_patient"),
    "S39": _r("Secrets in files of their owner alone, never in arguments, environment or log",
              "triage/test_keys.py::test_a_key_that_others_can_reach_is_refused_with_the_command"
              "_that_helps",
              "triage/deliver/test_credentials.py::test_a_key_that_others_may_read",
              "path/test_canaries.py::test_no_secret_is_in_an_environment_an_argument_or_a_log"),
    "S40": _r("Units and containers give up what they do not need",
              "docker/test_systemd.py::test_systemd_finds_little_to_object_to",
              "docker/test_compose.py::test_nothing_runs_as_root_or_with_privileges"),
    "S41": _r("Health without data",
              f"{WEB}health.py::test_alive_and_ready_are_said_without_data",
              "path/test_canaries.py::test_health_and_metrics_tell_of_nobody"),
    "S42": _r("An unknown key in the configuration is refused",
              f"{DOOR}cli.py::test_a_wrong_file_is_answered_with_its_name_and_the_key",
              f"{DOOR}cli.py::test_a_wrong_variable_is_answered_with_its_name_and_never_passed_over"),
    "S43": _r("Dependencies by hash; a file that is another is not installed",
              f"{DOOR}supply.py::test_every_line_of_the_lock_has_a_hash",
              f"{DOOR}supply.py::test_a_tampered_wheel_is_not_installed"),
    "S44": _r("A CycloneDX bill, held against what is installed",
              f"{DOOR}supply.py::test_it_is_cyclonedx_by_the_schema",
              f"{DOOR}supply.py::test_a_package_more_or_less_or_another_version_is_told"),
    "S45": _r("Known weaknesses stop a release and a start",
              f"{DOOR}supply.py::test_nothing_installed_is_on_the_list",
              f"{DOOR}supply.py::test_the_lock_pins_nothing_on_the_list",
              f"{DOOR}supply.py::test_a_planted_weak_version_is_found"),
    "S46": _r("Static rules, secrets and licences are looked at on every commit",
              "house/test_patterns.py::test_bandit_finds_nothing_of_medium_severity",
              "house/test_patterns.py::test_bandit_finds_what_is_planted",
              "house/test_secrets.py::test_no_file_holds_a_secret",
              "house/test_patterns.py::test_no_source_file_breaks_the_rule",
              "house/test_patterns.py::test_a_planted_finding_is_found",
              f"{DOOR}supply.py::test_nothing_needed_is_under_a_licence_that_binds_us",
              limit="our rules run as tests; the same for semgrep by `make semgrep`, see ADR 12"),
    "S47": _r("Signed, reproducible releases and detectors, and a step that verifies them",
              "house/test_release.py::test_the_wheel_of_this_project_is_the_same_when_built_again",
              "house/test_release.py::test_a_build_that_differs_from_the_next_is_no_release",
              f"{DOOR}release.py::test_one_changed_byte_in_any_file_is_told",
              f"{DOOR}release.py::test_a_missing_file_is_told",
              f"{DOOR}release.py::test_another_key_s_signature_is_none_whatever_else_holds",
              f"{DOOR}artifact.py::test_one_changed_byte_anywhere_is_told",
              f"{DOOR}artifact.py::test_it_says_of_each_artifact_what_holds",
              "workers/test_trust.py::test_an_unsigned_detector_is_a_coded_reason_and_an_audit_row"
              "_and_nothing_is_lost",
              "triage/test_sshsig.py::test_openssh_signs_and_checks_the_same",
              limit="nothing has been released yet, so no key is published"),
    "S48": _r("How to report a weakness; what we build on and what is wrong with it",
              "house/test_soup.py::test_the_page_is_what_the_project_and_the_lock_say",
              "house/test_security.py::test_who_finds_a_weakness_is_told_where_to_write"),
}  # fmt: skip


def page() -> str:
    """Give the whole page."""
    return HEAD + "\n".join(_row(name, one) for name, one in REQUIREMENTS.items()) + "\n" + SCANS


def _row(name: str, one: Requirement) -> str:
    tests = ", ".join(f"`{test}`" for test in one.tests)
    limit = f"*{one.limit}*" if one.limit else ""
    return f"| {name} | {one.text} | {'<br>'.join(filter(None, (tests, limit)))} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
