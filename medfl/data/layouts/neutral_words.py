"""Words in names of masks that do not say what a mask shows: who drew it and how, on which image, of which region and visit.

Words of one phrase are joined by hyphens.
"""

from __future__ import annotations

_NEUTRAL_TEXT = """
mask masks seg segs segm segmentation segmentations segmented segment segments dseg label labels labeled labelled labelmap
map roi rois voi contour contours outline outlines annotation annotations annotated annot delineation drawing drawn delin
maske masken masque masques segmentierung segmentierungen kontur konturen umriss beschriftung markierung annotiert contourage
manual manually manuell manuelle manuel automatic automatically automatisch automatique auto semi semiautomatic semiauto
expert experts experte reader rater raters radiologist radiologe radiologin radiologue doctor arzt arztin aerztin medecin
physician student annotator observer untersucher leser technician mtra consensus konsens majority vote staple fusion fused
gt ground truth groundtruth reference referenz ref target gold standard final finale endgultig endgueltig fertig corrected
korrigiert corrige corr edited edit bearbeitet reviewed review checked gepruft geprueft approved accepted verified done ok
new old neu neue alt nouveau nouvelle ancien copy kopie copie version ver rev draft entwurf initial first second last latest
binary bin binarized smooth smoothed filled clean cleaned cropped crop resized resampled reg registered warped aligned native
nativ space mni rigid affine full whole all total combined merged union multi multiclass multilabel single preproc
pred prediction predicted predictions inference model nnunet unet totalsegmentator itk itksnap snap slicer mitk monai ai ki ia
case subject sub subj patient pat pt id scan study exam session ses visit series serie slice image img volume vol data
baseline follow followup fu time timepoint tp day week month pre post prae preop postop before after vor nach
arterial arteriell arterielle arteriel portal portalvenous portalvenos portalvenoes venous venos venoes veineux veineuse
delayed late early
phase phasen phases spat spaet fruh frueh equilibrium nephrographic excretory native contrast contrastenhanced kontrast km
ce cect ncct nonenhanced unenhanced gado gd no-contrast non-contrast non-enhanced
ct mr mri mrt irm us xr xray pet spect cta ctp mra mrv petct dwi adc swi dce pd dti asl dsc perfusion flair stir mprage bravo
vibe tse fse gre tof ssfp cine fatsat dixon water opposed inphase sequence seq trace map maps t
axial sagittal coronal transversal transverse tra ax sag cor koronar
head kopf tete brust thorax chest abdomen abdominal bauch becken pelvis bassin
neck hals cou leg bein arm knee knie genou shoulder schulter
of the and und de le der die das von fur for with mit avec in on to from de-la a-la
anat nifti files file preprocessed processed raw derivatives output outputs results result export exported exports
brainlab defaced acute chronic
nii gz nrrd mha png tif tiff bmp jpg jpeg
"""

NEUTRAL = frozenset(tuple(name.split("-")) for name in _NEUTRAL_TEXT.split())
