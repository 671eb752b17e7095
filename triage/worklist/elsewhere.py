"""A study in the PACS's own viewer: who is led there is written down first."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from triage.worklist import claims, context
from triage.worklist.one_study import StudyId, study_of

router = APIRouter()
MISSING = "This site has not said where its PACS shows a study: reading.pacs_viewer in site.yaml."
NAMELESS = "The PACS's viewer is asked by accession number here, and this study has none."


@router.get("/studies/{study_id}/pacs")
def pacs(request: Request, study_id: StudyId) -> Response:
    """Lead to the study in the PACS's viewer, which asks its own users who they are."""
    here = context.of(request)
    reading = here.settings.site.reading
    if not reading.pacs_viewer:
        raise HTTPException(404, MISSING)
    with here.database.begin() as session:
        study = study_of(session, study_id)
        address = reading.at_pacs(
            {
                "StudyInstanceUID": study.study_instance_uid,
                "AccessionNumber": study.accession_number or "",
                "PatientID": study.patient_id or "",
            }
        )
        if not address:
            raise HTTPException(404, NAMELESS)
        context.audit_access(session, request, "viewer.pacs", study.study_instance_uid)
        if (opened := claims.opening(request, study)) is not None:
            opened(session)
    return RedirectResponse(address, 303)
