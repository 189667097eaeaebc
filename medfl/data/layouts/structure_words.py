"""Words for what a mask can show: structures, tissues and findings, in English, German and French, as file names have them.

One line is one thing; its first word stands for all. Accents do not count, and are left out: `lasion` and `laesion` are Läsion.
"""

from __future__ import annotations

_STRUCTURES = """
lesion lasion laesion
tumour tumor tumeur neoplasm gtv
cancer krebs karzinom carcinoma carcinome karzinome
metastasis metastases metastase metastasen met mets
nodule knoten nodul rundherd
mass raumforderung masse
cyst zyste kyste
polyp polype
perilesional perilesion peritumoral peritumoural
edema oedema odem oedem oedeme
necrosis nekrose necrose necrotic ncr
enhancing enhancement
ctv
ptv
itv
oar
infarct infarkt infarctus infarction stroke schlaganfall ischemia ischaemia avc
penumbra
hemorrhage haemorrhage hamorrhagie haemorrhagie blutung hemorragie bleed bleeding ich hematoma haematoma hamatom haematom
hyperintensity hyperintensities wmh leukoaraiosis
plaque
aneurysm aneurysma anevrisme
thrombus clot caillot
fracture fraktur
pneumonia pneumonie consolidation konsolidierung ggo opacity opacities
pneumothorax
effusion erguss epanchement
atelectasis atelektase
abscess abszess abces
calcification verkalkung calcium kalk
fibrosis fibrose
scar narbe cicatrice lge
brain gehirn hirn cerveau encephalon
skull schadel schaedel crane cranium
scalp kopfhaut
matter
wm whitematter
gm greymatter graymatter
cgm
sgm
csf liquor lcr
cortex kortex cortical cortices gyrus gyri sulcus sulci
ribbon
ventricle ventrikel ventricule ventricular
thalamus
hippocampus hippocampe hippocampal
amygdala
caudate
putamen
pallidum
basal ganglia
cerebellum kleinhirn cervelet cbm
cerebrum cerebral
brainstem hirnstamm
hypothalamus
pituitary hypophyse hypophysis
pons
corpus callosum
aparc aseg parcellation parzellierung parc wmparc
atlas
tissue gewebe tissu
eye auge oeil orbit
lens linse
nerve nerv nerf optic
chiasm chiasma
cochlea
parotid parotis
gland druse druese glande
mandible unterkiefer mandibule jaw kiefer
tooth teeth zahn zahne zaehne dent dents
tongue zunge langue
larynx
pharynx
thyroid schilddruse schilddruese thyroide
trachea luftrohre luftroehre trachee
esophagus oesophagus speiserohre speiseroehre oesophage
airway airways atemweg atemwege bronchus bronchi bronchial
lung lunge poumon pulmonary lungs
lobe lappen lobus
fissure
pleura
mediastinum
rib rippe cote ribs
sternum brustbein
clavicle schlusselbein schluesselbein clavicule
scapula schulterblatt
heart herz coeur cardiac
atrium vorhof oreillette
myocardium myokard myocarde myo
lv
rv
pericardium perikard
aorta aorte
artery arterie arteries arterien coronary
vein vene veine veins venen
vessel gefass gefaess vaisseau vasculature vascular gefasse gefaesse
ivc cava
liver leber foie hepar hepatic
spleen milz
kidney niere rein renal
adrenal nebenniere surrenale
pancreas pankreas bauchspeicheldruse
gallbladder gallenblase vesicule
stomach magen estomac
duodenum
bowel darm intestin intestine colon kolon dickdarm dunndarm duenndarm rectum rektum sigmoid
bladder blase harnblase vessie
prostate prostata
zone tz pz
seminal vesicle
uterus gebarmutter gebaermutter
cervix
ovary ovar ovaire
testis hoden testicule
breast mamma
fibroglandular fgt
lymph lymphknoten ganglion
bone knochen os skeleton skelett
vertebra vertebrae wirbel vertebre spine wirbelsaule wirbelsaeule
disc disk bandscheibe disque
spinalcord cord ruckenmark rueckenmark moelle
sacrum kreuzbein
hip hufte huefte hanche
femur
tibia
fibula
patella
humerus
radius
ulna
cartilage knorpel cartilages
meniscus meniskus menisque
ligament
tendon sehne
muscle muskel muskeln
fat fett graisse adipose
skin haut peau
retina netzhaut
macula makula
fovea
embryo
fetus foetus fotus
placenta plazenta
body korper koerper corps
organ organe
artifact artefact artefakt metal metall
air luft
fov
background hintergrund
implant implantat
catheter katheter
device
tube
pacemaker
"""
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
arterial arteriell arterielle artere portal portalvenous portalvenos portalvenoes venous venos venoes veineux delayed late early
phase phasen phases spat spaet fruh frueh equilibrium nephrographic excretory native contrast contrastenhanced kontrast km
ce cect ncct nonenhanced unenhanced gado gd
ct mr mri mrt irm us xr xray pet spect cta ctp mra mrv petct dwi adc swi dce pd dti asl dsc perfusion flair stir mprage bravo
vibe tse fse gre tof ssfp cine fatsat dixon water opposed inphase sequence seq trace map maps t
axial sagittal coronal transversal transverse tra ax sag cor koronar left right links rechts gauche droite droit lh rh
head kopf tete brust thorax chest abdomen abdominal bauch becken pelvis bassin
neck hals cou leg bein arm knee knie genou shoulder schulter
of the and und et de la le der die das von fur for with mit avec in on to from
anat nifti files file preprocessed processed raw derivatives output outputs results result export exported exports
nii gz nrrd mha png tif tiff bmp jpg jpeg
"""

NEUTRAL = frozenset(_NEUTRAL_TEXT.split())  # which of several masks, who drew it and how, on what, or that it is one
STRUCTURES = {  # each word, with the one that stands for the thing
    word: words[0] for words in map(str.split, _STRUCTURES.strip().splitlines()) for word in words
}
SIDES = {"left": "left", "links": "left", "gauche": "left", "lh": "left"} | dict.fromkeys(
    ("right", "rechts", "droite", "droit", "rh"), "right"
)
