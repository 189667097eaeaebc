"""What the name of a mask says is used, told or refused."""

from __future__ import annotations

import pytest

from medfl.data.layouts.named_things import FOREIGN, MISSING, SIDE, UNKNOWN, WHOLE, WIDTH, ClassNames, name_words

REFUSED = "refused"


def judge(classes: str, name: str) -> str:
    """Return `refused`, or why the mask is told."""
    notes = ClassNames([{one} for one in classes.split(",")]).judge(name_words(name))
    return REFUSED if notes is None else " or ".join(sorted(notes))


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        ("TZ", "pz_mask"),
        ("prostate", "TZ_mask"),
        ("rectum", "sigmoid_mask"),
        ("colon", "rectum-seg"),
        ("enhancing tumor", "non_enhancing_tumor_mask"),
        ("enhancing tumor", "tumor_mask"),
        ("non-enhancing tumor", "enhancing_tumor_mask"),
        ("tumor", "enhancing_tumor_mask"),
        ("tumor", "not_tumor"),
        ("tumor", "ohneTumor"),
        ("tumor", "no_tumor"),
        ("tumor", "tumor_bed"),
        ("tumor", "tumour_rim_mask"),
        ("tumor", "cyst"),
        ("healthy", "healthy_liver"),
        ("lesion", "BODY"),
        ("lesion", "background"),
        ("hippocampus", "hippocampus_head"),
        ("lung", "healthy_lung"),
        ("liver", "artère_hépatique"),
        ("Leber", "Gefäß_Maske"),
        ("tumeur", "œdème"),
        ("liver", "weiße_Substanz"),
        ("foie", "cœur"),
        ("GTVp", "GTVn_mask"),
        ("GTVn", "GTVp"),
        ("GTV", "CTV"),
        ("CTV", "PTV60"),
        ("lesion", "lesion_rim_mask"),
        ("lesion", "LN"),
        ("lesion", "lymph_node"),
        ("lesion", "brain_mask"),
        ("lesion", "lesion_oedema"),
        ("GGO", "consolidation_mask"),
        ("pneumonia", "effusion"),
        ("VAT", "SAT_mask"),
        ("fat", "muscle"),
        ("heart", "LAD"),
        ("heart", "aorta"),
        ("left ventricle", "RA_mask"),
        ("left ventricle", "right_ventricle"),
        ("LV", "right ventricle"),
        ("artery", "vein"),
        ("liver", "liver_vessel"),
        ("liver tumour", "Leber_Maske"),
        ("liver tumour", "lung_tumor"),
        ("Niere", "Nierenzyste"),
        ("liver tumour", "Nierentumor"),
        ("left kidney", "kidney_right"),
        ("left kidney", "kidney_R"),
        ("left lung,right lung", "left_lung"),
        ("GM,WM,CSF", "wm"),
        ("GM,WM,CSF", "liver_seg"),
        ("LV,RV,myo", "lung"),
        ("liver,liver tumour", "tumour_mask"),
        ("liver,tumor", "kidney"),
        ("edema,enhancing tumor", "brain_mask"),
        ("nodule,mass", "lung"),
        ("anterior hippocampus,posterior hippocampus", "anterior_hippocampus"),
        ("benign lesion,malignant lesion", "malignant_lesion"),
    ],
)
def test_a_mask_of_another_thing_is_refused(classes: str, name: str) -> None:
    assert judge(classes, name) == REFUSED


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        ("lesion", "brain_lesion_mask"),
        ("lesion", "skin_lesion_segmentation"),
        ("lesion", "stroke_lesion"),
        ("coronary", "coronary_vessel"),
        ("lesion", "Leberläsion"),
        ("lesion", "mask_3"),
        ("lesion", "lesion_no_2"),
        ("lesion", "non-contrast_mask"),
        ("tumor", "liver_tumor"),
        ("tumor", "whole_tumor"),
        ("edema", "brain_tumor_edema"),
        ("nodule", "lung_nodule"),
        ("polyp", "colon_polyp"),
        ("vessel", "retinal_vessels"),
        ("prostate", "prostate_gland"),
        ("liver", "liver_tissue"),
        ("PZ", "prostate_peripheral_zone"),
        ("WM", "white_matter"),
        ("white matter", "brain_wm-seg"),
        ("white matter", "whitematter"),
        ("gray matter", "grey"),
        ("gray matter", "greyMatter_mask"),
        ("grey", "gray_matter"),
        ("WMH", "white_matter_hyperintensity"),
        ("white matter hyperintensities", "wmh"),
        ("LV", "heart_left_ventricle"),
        ("left kidney", "mask_links"),
        ("left kidney", "kidney_L"),
        ("left lung,right lung", "lungs"),
        ("lung", "left_right_lung"),
        ("GTVp", "gtvp"),
        ("ET", "ET_mask"),
        ("subdural hematoma", "SDH"),
        ("prostate", "whole_gland"),
        ("target", "target_mask"),
        ("GM,WM,CSF", "gm_wm_csf"),
        ("liver,liver tumour", "liver_liver-tumour"),
        ("frobs", "frob"),
        ("organ", "organs_mask"),
        ("optic nerve", "optic_nerves"),
    ],
)
def test_the_classes_in_other_words_and_in_their_place_are_used(classes: str, name: str) -> None:
    assert judge(classes, name) == ""


@pytest.mark.parametrize(
    ("classes", "name", "why"),
    [
        ("lesion", "tumor_mask", WIDTH),
        ("tumor", "lesion_mask", WIDTH),
        ("tumor", "liver_metastases", WIDTH),
        ("GTVp", "GTV", WIDTH),
        ("fat", "SAT", WIDTH),
        ("prostate", "gland", WIDTH),
        ("left atrium", "atrium", WIDTH),
        ("organ", "liver", WIDTH),
        ("vessel", "vessel_artery", WIDTH),
        ("gross tumor volume", "GTVp", WIDTH),
        ("edema,enhancing tumor", "glioma_seg", WHOLE),
        ("optic disc,optic cup", "disc_cup", WIDTH),
        ("covid infection", "infection", MISSING),
        ("tumor", "ET", UNKNOWN),
        ("GM,WM,CSF", "brain_seg", WHOLE),
        ("LV,RV,myo", "heart_seg", WHOLE),
        ("edema,non-enhancing tumor,enhancing tumor", "tumor_seg", WHOLE),
        ("kidney,tumor,cyst", "kidney_seg", WHOLE),
        ("anterior,posterior", "hippocampus", FOREIGN),
        ("anterior hippocampus,posterior hippocampus", "hippocampus", MISSING),
        ("MS lesion", "lesion", MISSING),
        ("lung", "left_lung_mask", SIDE),
        ("lung", "lunge_links", SIDE),
        ("muscle", "L3_muscle", ""),
        ("lesion", "mask_JD", UNKNOWN),
        ("lesion", "mask_not_checked", UNKNOWN),
        ("lesion", "not_mask", UNKNOWN),
        ("lesion", "frobnicated_lesion", UNKNOWN),
        ("GBM", "LN", REFUSED),
        ("XYZ", "LNX", UNKNOWN),
        ("XYZ", "brain_mask", FOREIGN),
        ("XYZ", "brain_xyz", FOREIGN),
    ],
)
def test_what_may_be_meant_is_told(classes: str, name: str, why: str) -> None:
    assert judge(classes, name) == why
