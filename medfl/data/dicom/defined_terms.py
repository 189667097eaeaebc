"""Terms that DICOM defines for what an image shows: of these values messages may hold some, anything else may be free text."""

from __future__ import annotations

from collections.abc import Mapping


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


DEFINED_TERMS: Mapping[str, frozenset[str]] = {
    "Modality": _terms("CR DX MG RG XA RF PX IO CT MR US OT"),
    # PS3.3 C.8.1.3.1, C.8.11.5 and C.8.11.7
    "ViewPosition": _terms("AP PA LL RL RLD LLD RLO LLO LAT CC MLO ML LM XCCL XCCM FB SIO ISO LMO AT CV"),
    "Laterality": _terms("L R B U"),
    # PS3.16 annex L, those of radiographs and common scans
    "BodyPartExamined": _terms(
        """
        ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST CALCANEUS CALF CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE
        COCCYX COLON CSPINE CTSPINE EAR ELBOW EYE FACE FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW
        KNEE LEG LIVER LSPINE LSSPINE LUNG MAXILLA MANDIBLE MEDIASTINUM NECK ORBIT PANCREAS PATELLA PELVIS PROSTATE RIB
        SACRUM SCAPULA SELLA SHOULDER SINUS SKULL SPINE SSPINE STERNUM THIGH THUMB THYROID TLSPINE TMJ TOE TSPINE TIBIA
        UTERUS WRIST ZYGOMA
        """
    ),
}
